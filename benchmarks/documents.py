"""Parsers of PDF, office files and e-books: words kept, words in order, pages per CPU second, damaged files.

    pip install -e '.[documents,benchmark,dev]'; python benchmarks/documents.py [--documents 8] [--damaged 100]

Documents are made from the words of this project's documentation, so that the reference is known: headings, paragraphs,
lists, tables and footnotes, for PDF in one and in two columns. Words kept is the share of the reference's words that
the parser gives (as a multiset), in order the longest common subsequence (without footnotes: some parsers write them
behind their paragraph, some at the end). A page is one of the PDF, else 400 words. All
libraries read the same files in one process and one run. Damaged files are cut or have bytes flipped: a library raises,
gives a text, or is stopped after ten seconds; the project's worker answers with a reason.
"""

import argparse
import io
import random
import re
import signal
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.parsing.client import Parser
from llm_core.corpus.sources.parsing.kinds import KINDS, Limits
from llm_core.corpus.sources.parsing.worker import parser_of
from llm_core.params.sources import FilesSource
from llm_core.runtime.inputs import BrokenInputError
from tests.llm_core.corpus.sources import office_files as make

WORDS_A_PAGE = 400
LIMITS = Limits(64 << 20, 200)
DOCS = Path(__file__).parents[1] / "docs"
Reader = Callable[[Path], str]


def prose() -> list[str]:
    """Sentences of the documentation, ASCII alone, since the PDF's fonts know no more."""
    text = " ".join(file.read_text() for file in sorted(DOCS.rglob("*.md")))
    words = re.findall(r"[A-Za-z]{2,}", text)
    return [" ".join(words[start : start + 15]).capitalize() + "." for start in range(0, len(words) - 15, 15)]


def blocks(draw: random.Random, sentences: list[str]) -> list[Any]:
    """Headings, paragraphs, a list and a table, about 1,600 words, as `office_files.docx` takes them."""
    made: list[Any] = []
    for _ in range(4):
        made.append((1, draw.choice(sentences)))
        made += [" ".join(draw.choices(sentences, k=6)) for _ in range(4)]
        made.append(draw.choices(sentences, k=3))
        made.append([draw.choice(sentences).split()[:3] for _ in range(4)])
    return made


def reference(parts: list[Any]) -> str:
    """The text of the blocks, in order."""
    lines = []
    for part in parts:
        if isinstance(part, str):
            lines.append(part)
        elif isinstance(part, tuple):
            lines.append(part[1])
        else:
            lines += [line if isinstance(line, str) else " ".join(line) for line in part]
    return "\n".join(lines)


def pdf_in_columns(text: str) -> bytes:
    """A PDF with two columns."""
    import fpdf

    made = fpdf.FPDF()
    made.add_page()
    made.set_font("times", size=10)
    with made.text_columns(ncols=2, gutter=8, text_align="JUSTIFY") as columns:
        columns.write(text)
    return bytes(made.output())


def with_footnotes(data: bytes, notes: list[str]) -> bytes:
    """A DOCX with the first paragraphs referring to notes, which python-docx cannot write."""
    word = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    part = "".join(
        f'<w:footnote w:id="{n}"><w:p><w:r><w:t>{note}</w:t></w:r></w:p></w:footnote>'
        for n, note in enumerate(notes, 1)
    )
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"
    place = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
    changes = {
        "[Content_Types].xml": ("</Types>", f'<Override PartName="/word/footnotes.xml" ContentType="{kind}"/>'),
        "word/_rels/document.xml.rels": (
            "</Relationships>", f'<Relationship Id="rN" Type="{place}" Target="footnotes.xml"/>'),
    }  # fmt: skip
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = old.read(name)
            if name == "word/document.xml":
                for number in range(1, len(notes) + 1):
                    mark = f'</w:t></w:r><w:r><w:footnoteReference w:id="{number}"/></w:r></w:p >'
                    text = text.replace(b"</w:t></w:r></w:p>", mark.encode(), 1)
            elif name in changes:
                end, added = changes[name]
                text = text.replace(end.encode(), (added + end).encode())
            new.writestr(name, text)
        new.writestr("word/footnotes.xml", f"<w:footnotes {word}>{part}</w:footnotes>")
    return sink.getvalue()


def documents(draw: random.Random, sentences: list[str]) -> dict[str, tuple[str, str, bytes]]:
    """One document of each form: form -> (ending, reference, NUL before each note, bytes)."""
    parts = blocks(draw, sentences)
    text = reference(parts)
    paragraphs = [block for block in text.split("\n") if block]
    notes = draw.choices(sentences, k=3)
    html = "".join(f"<p>{line}</p>" for line in paragraphs)
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>'
    )
    odf = "".join(f"<text:p>{line}</text:p>" for line in paragraphs)
    slides = [(line[:60], " ".join(draw.choices(sentences, k=4)), draw.choice(sentences)) for line in paragraphs[:12]]
    return {
        "pdf": (".pdf", text, make.pdf([text])),
        "pdf, two columns": (".pdf", text, pdf_in_columns(text)),
        "docx": (".docx", "\0".join([text, *notes]), with_footnotes(make.docx(parts), notes)),
        "pptx": (".pptx", "\n".join(" ".join(slide) for slide in slides), make.pptx(slides)),
        "odt": (".odt", text, make.odt(odf, **{"META-INF/manifest.xml": manifest})),
        "epub": (".epub", text, make.epub([html])),
    }


def ours(path: Path) -> str:
    """The project's parser, in this process."""
    return "\n\n".join(section.text for section in parser_of(path.suffix)(path, LIMITS).sections)


def by_pypdf(path: Path) -> str:
    """pypdf."""
    import pypdf

    return "\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)


def by_pdfminer(path: Path) -> str:
    """pdfminer.six, which markitdown uses for PDF."""
    from pdfminer.high_level import extract_text

    return str(extract_text(path))


def by_python_docx(path: Path) -> str:
    """python-docx: paragraphs and tables in the document's order."""
    import docx

    lines = []
    for block in docx.Document(str(path)).iter_inner_content():
        rows = getattr(block, "rows", None)
        lines += [block.text] if rows is None else [" ".join(cell.text for cell in row.cells) for row in rows]
    return "\n".join(lines)


def by_odfpy(path: Path) -> str:
    """odfpy."""
    from odf import opendocument, teletype, text

    document = opendocument.load(str(path))
    return "\n".join(teletype.extractText(paragraph) for paragraph in document.getElementsByType(text.P))


def by_markitdown(path: Path) -> str:
    """markitdown (Markdown's marks are no words)."""
    global _markitdown
    if _markitdown is None:
        from markitdown import MarkItDown

        _markitdown = MarkItDown()
    return str(_markitdown.convert_local(path).text_content)


_markitdown: Any = None
READERS: dict[str, dict[str, Reader]] = {
    ".pdf": {"pypdfium2 (ours)": ours, "pypdf": by_pypdf, "pdfminer.six": by_pdfminer},
    ".docx": {"lxml (ours)": ours, "python-docx": by_python_docx, "markitdown (mammoth)": by_markitdown},
    ".pptx": {"python-pptx (ours)": ours, "markitdown": by_markitdown},
    ".odt": {"lxml (ours)": ours, "odfpy": by_odfpy},
    ".epub": {"lxml, resiliparse (ours)": ours, "markitdown": by_markitdown},
}


def common_subsequence(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for number, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << number
    whole = (1 << len(first)) - 1
    state = whole
    for word in second:
        shared = state & places.get(word, 0)
        state = (state + shared | state - shared) & whole
    return len(first) - state.bit_count()


def words(text: str) -> list[str]:
    """Words without case and marks."""
    return re.findall(r"[a-z0-9]+", text.lower())


def damage(draw: random.Random, data: bytes) -> bytes:
    """Cut short, or with eight bytes changed."""
    if draw.random() < 0.5:
        return data[: draw.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(8):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def outcome(read: Reader, path: Path) -> str:
    """What becomes of a damaged file: `text`, `nothing`, `raises` or `stopped`."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    try:
        return "text" if read(path).strip() else "nothing"
    except TimeoutError:
        return "stopped"
    except Exception:
        return "raises"
    finally:
        signal.alarm(0)


def main() -> None:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=int, default=8, help="of each form")
    options.add_argument("--damaged", type=int, default=100, help="damaged copies of each ending")
    asked = options.parse_args()
    draw, sentences = random.Random(1), prose()
    made = [documents(draw, sentences) for _ in range(asked.documents)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for form in made[0]:
            ending = made[0][form][0]
            for name, read in READERS[ending].items():
                kept = ordered = total = total_body = 0
                seconds = pages = 0.0
                for number, one in enumerate(made):
                    _, wanted, data = one[form]
                    path = folder / f"{number}{ending}"
                    path.write_bytes(data)
                    if number == 0:
                        read(path)  # imports
                    begin = time.process_time()
                    text = read(path)
                    seconds += time.process_time() - begin
                    body, expected, found = wanted.partition("\0")[0], words(wanted), words(text)
                    kept += (Counter(expected) & Counter(found)).total()
                    ordered += common_subsequence(words(body), found)
                    total += len(expected)
                    total_body += len(words(body))
                    pages += parser_of(ending)(path, LIMITS).total if ending == ".pdf" else len(expected) / WORDS_A_PAGE
                shares = f"kept {kept / total:.4f}  in order {ordered / total_body:.4f}"
                print(f"{form:18} {name:26} {shares}  {pages / seconds:8.0f} pages/s")
        for ending in KINDS:
            form = next(name for name in made[0] if made[0][name][0] == ending)
            paths = [folder / f"damaged-{number}{ending}" for number in range(asked.damaged)]
            for path in paths:
                path.write_bytes(damage(draw, made[0][form][2]))
            with Parser(FilesSource(kind="files", paths=["."])) as parser:
                reasons: Counter[str] = Counter()
                for path in paths:
                    try:
                        parser(path, path.name, ending)
                        reasons["text"] += 1
                    except BrokenInputError as error:
                        reasons[error.reason] += 1
            print(f"{ending}: {asked.damaged} damaged, the project: {dict(reasons)}")
            for name, read in READERS[ending].items():
                if read is not ours:
                    fates = Counter(outcome(read, path) for path in paths)
                    print(f"{ending}: {asked.damaged} damaged, {name}: {dict(fates)}")


if __name__ == "__main__":
    main()
