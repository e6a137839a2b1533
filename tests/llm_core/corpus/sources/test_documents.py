"""PDF, office files and e-books: their text, titles and numbers; broken, encrypted and hostile ones, each by reason."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from llm_core.corpus.sources.parsing import client
from llm_core.errors import UserError
from llm_core.params.sources import FilesSource
from tests.llm_core.corpus.sources import office_files as make

PAGES = ["The river is long. It ends in the sea.", "", "The town lies on the hill."]
DOCX = [(1, "Rivers"), "The river is <long> & wide.", ["Nile", "Amazon"], [["name", "length"], ["Nile", "6650 km"]],
        (1, "Towns"), "The town lies on the hill."]  # fmt: skip
SLIDES = [("Rivers", "The river is long.", "Say it slowly."), ("Towns", "The town lies on the hill.", "")]
ODT = (
    '<text:h text:outline-level="1">Rivers</text:h><text:p>The <text:span>river</text:span><text:s text:c="2"/>is long.'
    "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>A note.</text:p></text:note-body>"
    "</text:note></text:p><text:list><text:list-item><text:p>Nile</text:p></text:list-item></text:list>"
    "<table:table><table:table-row><table:table-cell><text:p>Nile</text:p></table:table-cell><table:table-cell>"
    "<text:p>6650 km</text:p></table:table-cell></table:table-row></table:table>"
    "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
    '<text:h text:outline-level="1">Towns</text:h><text:p>The town lies on the hill.</text:p>'
)
CHAPTERS = ["<h1>Rivers</h1><p>The river is long &amp; wide.</p>", "<h2>Towns</h2><p>The town lies on the hill.</p>"]
FILES = {
    "a.pdf": make.pdf(PAGES, "Atlas"),
    "b.docx": make.docx(DOCX, "Atlas"),
    "c.PPTX": make.pptx(SLIDES, "Atlas"),
    "d.odt": make.odt(ODT, "Atlas"),
    "e.epub": make.epub(CHAPTERS, "Atlas"),
}


def source(*paths, **settings) -> FilesSource:
    return FilesSource(kind="files", paths=[str(path) for path in paths], **settings)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "corpus"
    place.mkdir()
    for name, data in FILES.items():
        (place / name).write_bytes(data)
    return place


def by_file(result) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in result.documents:
        metadata = json.loads(row["metadata"])
        found.setdefault(Path(metadata["file"]).name, []).append({"text": row["text"], **metadata})
    return found


def test_a_document_for_each_file(folder, run):
    found = by_file(run(source(folder)))
    assert {name: len(rows) for name, rows in found.items()} == dict.fromkeys(FILES, 1)
    texts = {name: rows[0]["text"] for name, rows in found.items()}
    assert texts["a.pdf"] == "The river is long. It ends in the sea.\n\nThe town lies on the hill."
    assert " ".join(texts["b.docx"].split()) == (
        "Rivers The river is <long> & wide. - Nile - Amazon name length Nile 6650 km Towns The town lies on the hill."
    )
    assert "\nname\tlength\nNile\t6650 km\n" in texts["b.docx"]
    assert texts["c.PPTX"].splitlines()[:3] == ["Rivers", "The river is long.", "Say it slowly."]
    assert texts["d.odt"] == (
        "Rivers\n\nThe river  is long.\n\nA note.\n\n- Nile\nNile\t6650 km\n\nTowns\n\nThe town lies on the hill."
    )
    assert texts["e.epub"] == "Rivers\n\nThe river is long & wide.\n\nTowns\n\nThe town lies on the hill."
    assert {rows[0]["title"] for rows in found.values()} == {"Atlas"}
    assert (found["a.pdf"][0]["pages"], found["a.pdf"][0]["pages_without_text"]) == (3, 1)


def test_a_document_for_each_page_or_slide(folder, run):
    result = run(source(folder, unit="page"))
    found = by_file(result)
    assert [(row["page"], row["title"]) for row in found["a.pdf"]] == [(1, "Atlas"), (3, "Atlas")]
    assert [(row["page"], row["title"]) for row in found["c.PPTX"]] == [(1, "Atlas: Rivers"), (2, "Atlas: Towns")]
    assert len(found["b.docx"]) == len(found["e.epub"]) == 1  # no pages: whole
    (empty,) = [row for row in result.ledger if row["verdict"] == "dropped"]
    assert (empty["reason"], Path(empty["shard"]).name, empty["offset"]) == ("quarantine_no_text_layer", "a.pdf", 2)


def test_a_document_for_each_chapter(folder, run):
    found = by_file(run(source(folder, unit="chapter")))
    for name in ("b.docx", "d.odt", "e.epub"):
        assert [(row["chapter"], row["title"]) for row in found[name]] == [(1, "Atlas: Rivers"), (2, "Atlas: Towns")]
        assert "Towns" not in found[name][0]["text"] and "hill" in found[name][1]["text"]
    assert len(found["a.pdf"]) == len(found["c.PPTX"]) == 1


def test_a_pdf_is_divided_by_its_outline(tmp_path, run):
    pages = ["Contents", "The river is long.", "It ends in the sea.", "", "The town lies on the hill.", "An index."]
    outline = [
        (1, 0, "Atlas"),
        (2, 1, "Rivers"),
        (2, 2, "Sources"),
        (4, 1, "Pictures"),
        (5, 1, "Towns"),
        (5, 1, "Hills"),
    ]
    (tmp_path / "a.pdf").write_bytes(make.pdf(pages, "Atlas", outline=outline))
    result = run(source(tmp_path / "a.pdf", unit="chapter"))
    found = by_file(result)["a.pdf"]
    assert [(row["chapter"], row["title"], row["page"], row["last_page"], row["text"]) for row in found] == [
        (1, "Atlas", 1, 1, "Contents"),
        (2, "Atlas: Rivers", 2, 3, "The river is long.\n\nIt ends in the sea."),
        (4, "Atlas: Towns / Hills", 5, 6, "The town lies on the hill.\n\nAn index."),
    ]
    (empty,) = [row for row in result.ledger if row["verdict"] == "dropped"]
    assert (empty["reason"], empty["offset"]) == ("quarantine_no_text_layer", 3)
    assert len({row["id"] for row in result.documents}) == 3 and "kept_whole" not in result.metrics


def test_files_without_the_unit_stay_whole_and_are_counted(folder, run):
    chapters = run(source(folder, unit="chapter"))
    assert chapters.metrics["kept_whole"] == {"no_chapters": 2}
    noted = {Path(row["shard"]).name for row in chapters.ledger if row["reason"] == "no_chapters"}
    assert noted == {"a.pdf", "c.PPTX"} and chapters.dropped == []
    assert run(source(folder, unit="page"), out="pages").metrics["kept_whole"] == {"no_pages": 3}
    assert "kept_whole" not in run(source(folder), out="files").metrics


def test_a_broken_page_is_named_and_the_others_are_read(tmp_path, run):
    data = make.pdf(["one", "two", "three"])
    place = data.index(b"/Type /Page\n", data.index(b"/Type /Page\n") + 1)
    (tmp_path / "a.pdf").write_bytes(data[:place] + b"/Type /Pxge\n" + data[place + 12 :])
    pages = run(source(tmp_path / "a.pdf", unit="page"))
    assert [row["text"] for row in pages.documents] == ["one", "three"] and pages.dropped == ["quarantine_broken_page"]
    (whole,) = by_file(run(source(tmp_path / "a.pdf"), out="whole"))["a.pdf"]
    assert whole["text"] == "one\n\nthree" and (whole["pages"], whole["pages_broken"]) == (3, 1)


def test_the_same_bytes_whatever_came_before(folder, run, monkeypatch):
    once = run(source(folder, unit="page"), out="once")
    monkeypatch.setattr(client, "REUSED", 1)
    again = run(source(folder, unit="page", document_seconds=59), out="again")
    assert once.documents == again.documents and once.ledger == again.ledger


def test_files_that_cannot_be_read_are_named_by_reason_and_stop_nothing(tmp_path, run):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    locked = make.odt("", **{"META-INF/manifest.xml": (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry>'
        "<manifest:encryption-data/></manifest:file-entry></manifest:manifest>"
    )})  # fmt: skip
    drm = make.epub(CHAPTERS, **{"META-INF/encryption.xml": (
        '<e xmlns:enc="urn:x"><enc:CipherReference URI="OEBPS/text%200.xhtml"/></e>'
    )})  # fmt: skip
    files = {
        "cut.docx": (FILES["b.docx"][:-100], "quarantine_truncated"),
        "cut.pdf": (b"%PDF-1.7\n1 0 obj\n<<", "quarantine_broken_document"),
        "drm.epub": (drm, "quarantine_encrypted"),
        "empty.docx": (make.docx([]), "empty_file"),
        "locked.odt": (locked, "quarantine_encrypted"),
        "locked.pdf": (make.pdf(["secret"], password="word"), "quarantine_encrypted"),
        "locked.pptx": (client_compound("EncryptedPackage"), "quarantine_encrypted"),
        "no.epub": (make.zipped({"a.txt": "x"}), "quarantine_wrong_kind"),
        "old.docx": (client_compound("WordDocument"), "quarantine_wrong_kind"),
        "scanned.pdf": (make.pdf(["", ""]), "quarantine_no_text_layer"),
        "text.docx": (b"this is plain text", "quarantine_wrong_kind"),
        "text.pdf": (b"this is plain text", "quarantine_broken_document"),
        "zero.odt": (b"", "quarantine_wrong_kind"),
    }
    for name, (data, _) in files.items():
        (corpus / name).write_bytes(data)
    (corpus / "good.pdf").write_bytes(FILES["a.pdf"])
    result = run(source(corpus))
    assert [Path(name).name for name in by_file(result)] == ["good.pdf"]
    judged = {Path(row["shard"]).name: row["reason"] for row in result.ledger if row["verdict"] == "dropped"}
    assert judged == {name: reason for name, (_, reason) in files.items()}


def client_compound(stream: str) -> bytes:
    """The beginning of a file in Microsoft's older container, which names one of its streams."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512) + stream.encode("utf-16-le") + bytes(512)


def test_a_bomb_is_found_before_it_is_unpacked(tmp_path, run):
    sink = io.BytesIO(FILES["d.odt"])
    with zipfile.ZipFile(sink, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Pictures/x", bytes(80 << 20))
    (tmp_path / "bomb.odt").write_bytes(sink.getvalue())
    (tmp_path / "good.pdf").write_bytes(FILES["a.pdf"])
    assert run(source(tmp_path / "bomb.odt", tmp_path / "good.pdf")).dropped == ["quarantine_decompression_bomb"]


def test_time_and_memory_and_a_crash_are_bounded_by_the_process(tmp_path, run, monkeypatch):
    """A parser that never ends, one that takes all memory, and one that crashes; the next file is read all the same."""
    package = tmp_path / "parsers"
    package.mkdir()
    (package / "sitecustomize.py").write_text(PARSERS)
    monkeypatch.setenv("PYTHONPATH", str(package))
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in ("1-good.pdf", "2-hang.pdf", "3-good.pdf", "4-fill.pdf", "5-good.pdf", "6-crash.pdf", "7-good.pdf"):
        (corpus / name).write_bytes(make.pdf([name]))
    result = run(source(corpus, document_seconds=1, document_memory_mb=768))
    assert [row["text"] for row in result.documents] == ["1-good.pdf", "3-good.pdf", "5-good.pdf", "7-good.pdf"]
    assert result.dropped == ["quarantine_document_time", "quarantine_document_memory", "quarantine_parser_crashed"]
    details = [row["detail"] for row in result.ledger if row["verdict"] == "dropped"]
    assert "document_seconds" in details[0] and "document_memory_mb" in details[1] and "SIGSEGV" in details[2]


PARSERS = """
import os, signal, sys
if sys.argv and "-m" in sys.orig_argv:
    from llm_core.corpus.sources.parsing import pdf
    real = pdf.parse
    def parse(path, limits):
        if "hang" in path.name:
            while True:
                pass
        if "fill" in path.name:
            bytearray(2 << 30)
        if "crash" in path.name:
            os.kill(os.getpid(), signal.SIGSEGV)
        return real(path, limits)
    pdf.parse = parse
"""


def test_without_the_extra_files_are_counted_and_the_extra_is_named(folder, run, monkeypatch, capfd):
    from llm_core.corpus.sources import files

    monkeypatch.setattr(files, "installed", lambda needs: needs != ("pypdfium2",))
    result = run(source(folder))
    assert result.metrics["files_not_read"] == {"needs_extra_documents .pdf": 1}
    assert "pip install 'llm-core-pipeline[documents]'" in capfd.readouterr().err
    with pytest.raises(UserError, match=r"a\.pdf: files of this kind need .*llm-core-pipeline\[documents\]"):
        run(source(folder / "a.pdf"), out="one")
