"""What a takedown touches in a finished project, and whether the result equals a run that never had the document.

    cp -a PROJECT COPY && python benchmarks/takedown.py COPY --id ID [--id ID]

In COPY (a working copy after `dvc repro`; it is changed) and for each id: the takedown is applied, the data
stages are rebuilt by `dvc repro`, and the files whose bytes changed are counted. Then every raw document
that left is filtered out of a second copy of `data/raw`, and the same verbs run there from scratch with no
tombstones: each file must have the same bytes. At the end the tombstones are removed, and the first bytes must
come back. `--keep-tokenizer` freezes the stage `tokenizer` first (`dvc freeze tokenizer`).
CPU seconds, not wall time. Exit code 1 when something is not equal.
"""

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

STAGES = {
    "dedup": ("dedup/documents",),
    "decontaminate": ("decontaminated/documents",),
    "split": ("split/train/documents", "split/heldout/documents"),
    "tokenizer": ("tokenizer",),
    "tokenize": ("tokens/train", "tokens/heldout"),
    "ledgers": ("dedup/ledger", "decontaminated/ledger", "split/ledger"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, help="a copy of a finished project; it is changed")
    parser.add_argument("--id", action="append", required=True, help="a document to take down; repeatable")
    parser.add_argument("--keep-tokenizer", action="store_true", help="freeze the stage `tokenizer` first")
    arguments = parser.parse_args()
    os.chdir(arguments.project)
    tombstones = Path("takedowns.jsonl")
    kept = tombstones.read_bytes() if tombstones.is_file() else b""
    repro()
    if arguments.keep_tokenizer:
        subprocess.run(["dvc", "freeze", "tokenizer"], check=True, capture_output=True)
    before = digests(Path("data"))
    equal = True
    for identifier in arguments.id:
        request = ["takedown", "--id", identifier, "--reason", "benchmark"]
        print(run(["llm-core", *request, "--apply"])[0])
        seconds = repro()
        run(["llm-core", "takedown", "--check"])
        after = digests(Path("data"))
        print(f"dvc repro: {seconds:.0f} CPU seconds\n{changes(before, after)}")
        seconds = from_scratch(Path(".scratch/without"), removed(kept, tombstones), arguments.keep_tokenizer)
        without = digests(Path(".scratch/without/data"))
        names = [name for name in after if stage_of(name) != "ledgers"]  # the tombstone's own row is missing
        wrong = [name for name in names if after[name] != without.get(name)]
        wrong += [name for name in without if name not in after]
        print(f"from scratch: {seconds:.0f} CPU seconds, {len(names)} files, {len(wrong)} of them not the same {wrong}")
        tombstones.write_bytes(kept)
        repro()
        back = digests(Path("data")) == before
        print(f"tombstones taken back: {'the first bytes' if back else 'NOT the first bytes'}\n")
        equal = equal and back and not wrong
    sys.exit(not equal)


def run(command: list[str], folder: Path = Path()) -> tuple[str, float]:
    """Output of a command and its CPU seconds; ends the program when it fails."""
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    stop = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout, stop.ru_utime + stop.ru_stime - start.ru_utime - start.ru_stime


def repro() -> float:
    rows = ["finetune-data"] if Path("data/finetuning").is_dir() else []
    return run(["dvc", "repro", "--no-run-cache", "tokenize", *rows])[1]


def digests(data: Path) -> dict[str, str]:
    """SHA-256 of every file that a takedown may change, by its path below `data`."""
    files = [file for folders in STAGES.values() for folder in folders for file in (data / folder).iterdir()]
    return {
        str(file.relative_to(data)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
        if file.suffix in (".parquet", ".arrow") or file.name == "tokenizer.json"
    }


def stage_of(name: str) -> str:
    return next(stage for stage, folders in STAGES.items() if any(name.startswith(f"{folder}/") for folder in folders))


def changes(before: dict[str, str], after: dict[str, str]) -> str:
    """By stage: files whose bytes no file had before, and files that only have another number now."""
    lines = [f"{'stage':<16}{'files':>7}{'new':>6}{'renamed':>9}{'share new':>11}"]
    for stage in STAGES:
        had, have = ({name: files[name] for name in files if stage_of(name) == stage} for files in (before, after))
        known = set(had.values())
        new = sum(digest not in known for digest in have.values())
        renamed = sum(digest in known and had.get(name) != digest for name, digest in have.items())
        lines.append(f"{stage:<16}{len(have):>7}{new:>6}{renamed:>9}{new / len(have):>11.1%}")
    return "\n".join(lines)


def removed(kept: bytes, tombstones: Path) -> set[str]:
    """Ids that the tombstones name and did not name before, twins included."""
    from llm_core.corpus.takedowns import read_rows

    rows = [row for row in read_rows(tombstones) if row["reason"] == "benchmark"]
    return {row["id"] for row in rows}


def from_scratch(place: Path, ids: set[str], keep_tokenizer: bool) -> float:
    """Run the data stages in `place` on raw documents without `ids`; CPU seconds."""
    from llm_core.formats.documents import DocumentWriter, read_documents

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in ("params.yaml",):
        shutil.copy(name, place / name)
    sources = sorted(path.name for path in Path("data/raw").iterdir() if path.is_dir())
    unwanted = pa.array(sorted(ids))
    for source in sources:
        with DocumentWriter(place / f"data/raw/{source}/documents") as writer:
            for batch in read_documents(f"data/raw/{source}"):
                writer.write(batch.filter(pc.invert(pc.is_in(batch.column("id"), unwanted))))
    seconds = 0.0
    steps = [f"clean --in data/raw/{source} --out data/clean/{source}" for source in sources]
    steps.append("dedup --in data/clean/{source} --out data/dedup")
    steps.append(
        f"decontaminate --in data/dedup --benchmarks {Path('data/benchmarks').resolve()} --out data/decontaminated"
    )
    steps.append("split --in data/decontaminated --out data/split")
    if keep_tokenizer:
        shutil.copytree("data/tokenizer", place / "data/tokenizer")
    else:
        steps.append("train-tokenizer --in data/split/train --out data/tokenizer")
    steps.append("tokenize --in data/split --tokenizer data/tokenizer --out data/tokens")
    for step in steps:
        seconds += run(["llm-core", *step.split()], place)[1]
    return seconds


if __name__ == "__main__":
    main()
