"""A corpus for comparing cleaning with its peers that nobody tuned on: what a Debian system has beside this project.

    python -m benchmarks.cleaning_heldout OUT.parquet

Manual pages (their source), package documentation, source code, and programs' messages in languages of fifteen scripts.
A file belongs to the half `heldout` or `development` by a hash of its path; whoever changes the cleaning looks at the
second (`--half development`) alone. `benchmarks/cleaning.py` then runs both programs on the corpus.
"""

import argparse
import gzip
import hashlib
import random
from collections.abc import Iterator
from gettext import GNUTranslations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cleaning_corpus import pieces, spoiled

SHARE = Path("/usr/share")
KINDS = {
    "manual": (SHARE / "man", ["man?/*.gz"], 2500),
    "docs": (SHARE / "doc", ["*/copyright", "*/README*", "**/*.txt", "*/changelog*.gz", "**/*.html"], 2500),
    "code": (Path("/usr"), ["lib/python3*/*.py", "include/**/*.h", "share/perl*/**/*.pm"], 2500),
}
SCRIPTS = "ar hi bn ta te ml th ka hy el he ru ja ko zh_CN am km".split()  # noqa: SIM905 - reads better
MESSAGES, LANGUAGE_DOCUMENTS = 60, 250
CHARACTERS = 6000


def in_half(path: Path, half: str) -> bool:
    """Whether a file belongs to a half."""
    return (hashlib.sha256(str(path).encode()).digest()[0] % 2 == 0) == (half == "heldout")


def read(file: Path) -> str:
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return data.decode("utf-8", "replace")


def messages(file: Path) -> list[str]:
    """The translations in a catalogue."""
    try:
        with open(file, "rb") as stream:
            return [text for text in GNUTranslations(stream)._catalog.values() if isinstance(text, str) and text]  # type: ignore[attr-defined]
    except (OSError, UnicodeDecodeError, ValueError):
        return []


def documents(half: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """(kind, text) pairs of a half."""
    for kind, (folder, patterns, most) in KINDS.items():
        files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
        files = [file for file in files if 200 < file.stat().st_size < 200_000 and in_half(file, half)]
        rng.shuffle(files)
        for file in files[:most]:
            for part in [*pieces(read(file), CHARACTERS)][:3]:
                yield kind, part[:CHARACTERS]
    for language in SCRIPTS:
        files = sorted((SHARE / "locale" / language / "LC_MESSAGES").glob("*.mo"))
        texts = [text for file in files if in_half(file, half) for text in messages(file)]
        rng.shuffle(texts)
        places = range(0, min(len(texts), LANGUAGE_DOCUMENTS * MESSAGES), MESSAGES)
        yield from ((f"script {language}", "\n".join(texts[place : place + MESSAGES])) for place in places)


def main() -> None:
    """Write the corpus as Parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--half", choices=["heldout", "development"], default="heldout")
    chosen = parser.parse_args()
    rng = random.Random(2)
    rows = []
    for kind, text in documents(chosen.half, rng):
        rows.append((kind, text))
        if rng.random() < 0.1:
            rows.append((kind, spoiled(text, rng)))
    rows = [(kind, text.encode("utf-8", "replace").decode()) for kind, text in rows if text]
    rng.shuffle(rows)
    ids = [f"{number:06d}" for number in range(len(rows))]
    kinds, texts = [kind for kind, _ in rows], pa.array([text for _, text in rows], pa.large_string())
    pq.write_table(pa.table({"id": ids, "source": kinds, "text": texts}), chosen.out, compression="zstd")
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    print(len(rows), "documents,", sum(len(text) for _, text in rows) >> 20, "MB", counts)


if __name__ == "__main__":
    main()
