"""Time and memory of `llm-core dedup` as the corpus grows; with `--limit-mb`, under a limit of the kernel.

    python benchmarks/deduplication_scaling.py --in data/clean/addresses data/clean/bible --work WORK
    python benchmarks/deduplication_scaling.py --in data/clean/addresses --work WORK --documents 120000 --words 3500 \\
        --limit-mb 256 --cgroup /sys/fs/cgroup/memory/dedup --set launch.deduplication.memory_mb=32

Documents are made of runs of 20 words of the real text, drawn at random, so that any number of them can be made; a
tenth is a near-duplicate of an earlier one (its text and one word more). `--cgroup` names an existing memory cgroup
(version 1 or 2) that this user may write: all memory that the run causes counts, page cache too, and the kernel ends a
run that needs more. Without it the limit is RLIMIT_DATA, on private memory, which needs no rights.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

from llm_core.formats.documents import DocumentWriter, read_documents

RUN, EVERY, AT_ONCE = 20, 10, 1000


def make(folder: Path, inputs: list[str], count: int, words: int) -> int:
    """Write `count` documents of about `words` words; bytes of text."""
    draw = random.Random(count)
    texts = [text for batch in read_documents(inputs, ["text"]) for text in batch["text"].to_pylist()]
    flat = " ".join(texts).split()
    runs = [" ".join(flat[start : start + RUN]) for start in range(0, len(flat) - RUN, RUN)]
    written = 0
    with DocumentWriter(folder / "documents") as writer:
        for start in range(0, count, AT_ONCE):
            made: list[str] = []
            for number in range(start, min(start + AT_ONCE, count)):
                if number % EVERY == EVERY - 1:
                    made.append(f"{draw.choice(made)} again{number}")
                else:
                    made.append(" ".join(draw.choices(runs, k=max(1, words // RUN))))
            written += sum(len(text.encode()) for text in made)
            rows = [{"id": f"{start + row:09d}", "source": "made", "text": text} for row, text in enumerate(made)]
            writer.write_rows(rows)
    return written


def measure(folder: Path, out: Path, limit_mb: int, cgroup: str, overrides: list[str]) -> None:
    """Run the verb in a process of its own and print what it took."""

    def limit() -> None:
        if cgroup:
            (Path(cgroup) / "cgroup.procs").write_text(str(os.getpid()))
        elif limit_mb:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, limit_mb << 20))

    version_1 = cgroup and (Path(cgroup) / "memory.limit_in_bytes").exists()
    if cgroup:
        (Path(cgroup) / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit_mb << 20))
    if version_1:
        (Path(cgroup) / "memory.max_usage_in_bytes").write_text("0")  # the peak of this run, not of those before
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "llm_core.cli", "dedup", "--in", str(folder), "--out", str(out)]
    command += ["--takedowns", str(out.parent / "none")]
    for override in overrides:
        command += ["--set", override]
    log = out.parent / "dedup.log"
    with open(log, "w") as stream:
        code = subprocess.run(command, stdout=stream, stderr=stream, preexec_fn=limit).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"  exit {code}, {seconds:.1f} CPU s, peak {after.ru_maxrss >> 10} MB resident", end="")
    if cgroup:
        peak = Path(cgroup) / ("memory.max_usage_in_bytes" if version_1 else "memory.peak")
        print(f", {int(peak.read_text()) >> 20} MB in the cgroup of {limit_mb}", end="")
    print(f"; log in {log}" if code else "", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in", dest="inputs", nargs="+", required=True, help="documents whose words are used")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--limit-mb", type=int, default=0)
    parser.add_argument("--cgroup", default="", help="folder of a memory cgroup, made before: mkdir")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    chosen = parser.parse_args()
    for count in chosen.documents:
        folder = chosen.work / f"{count}-{chosen.words}"
        if not (folder / "bytes").exists():
            size = make(folder, chosen.inputs, count, chosen.words)
            (folder / "bytes").write_text(str(size))
        print(f"{count} documents, {int((folder / 'bytes').read_text()) / 1e6:.0f} MB of text:")
        measure(folder, chosen.work / "out", chosen.limit_mb, chosen.cgroup, chosen.overrides)


if __name__ == "__main__":
    main()
