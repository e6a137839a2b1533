"""CPU time and memory of the second half of the data path, from `dedup` to `tokenize`, as the corpus grows.

    python -m benchmarks.data_path --in data/clean/addresses data/clean/bible data/clean/factbook \\
        --benchmarks data/benchmarks --work WORK

The documents are those of `deduplication_scaling.py`: runs of 20 words of real text, a tenth of them near-duplicates.
Each verb is a process of its own with the default params and buffers of `--memory-mb`. Prints CPU seconds (the kernel's
included), the peak of private memory, which cannot be taken from the process (RssAnon), and the peak of all resident
memory, which counts the mapped files too, that the kernel may write out.

    python -m benchmarks.data_path ... --documents 1000000 --workers 1 2

runs `clean` too, each verb with so many workers on as many cores, and prints what each pass over the documents does in
a second of wall time, by its own log, and how many whole verbs a minute would end.

    python -m benchmarks.data_path ... --documents 5000000 --limit-share 0.1

runs each verb in a memory cgroup (by root) whose limit is that share of the text's bytes; the kernel's cache of files
counts there, too, and a verb that needs more is killed.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pyarrow.compute as pc

from benchmarks.deduplication_scaling import make
from llm_core.formats.documents import read_documents

BOUNDED = {"dedup": "deduplication", "decontaminate": "decontamination", "split": "split", "mix": "mix"}
SECTIONS = BOUNDED | {"clean": "cleaning", "train-tokenizer": "tokenizer", "tokenize": "tokenization"}
ANONYMOUS = re.compile(r"RssAnon:\s+(\d+)")
PASS = re.compile(r"^([\w :-]+): \S+ of \S+ \(100%\) (\w+), ([\d.e+]+)([kMG]?)/s", re.M)
SCALES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def cgroup(megabytes: int) -> Path:
    """The folder of a memory cgroup with this limit, of version 1 or 2."""
    first = Path("/sys/fs/cgroup/memory")
    folder = (first if first.exists() else first.parent) / "llm-core-benchmark"
    folder.mkdir(exist_ok=True)
    (folder / ("memory.limit_in_bytes" if first.exists() else "memory.max")).write_text(str(megabytes << 20))
    return folder


def text_megabytes(documents: Path) -> int:
    """Size of the texts of a documents folder in MB."""
    batches = read_documents([documents], ["text"])
    return sum(pc.sum(pc.binary_length(batch["text"])).as_py() for batch in batches) >> 20


def measure(arguments: list[str], folder: Path, cores: int = 0, limited: Path | None = None) -> tuple[float, int, int]:
    """Run a verb in `folder`, on so many cores, in the cgroup `limited`: CPU seconds, peak of private memory and of
    resident memory in MB."""
    command = [sys.executable, "-m", "llm_core.cli", *arguments]
    own = sorted(os.sched_getaffinity(0))
    with open(folder / f"{arguments[0]}.log", "w") as log:
        os.sched_setaffinity(0, own[: cores or len(own)])  # inherited
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        os.sched_setaffinity(0, own)
        if limited:
            (limited / "cgroup.procs").write_text(str(process.pid))
        private = 0
        while True:
            number, status, usage = os.wait4(process.pid, os.WNOHANG)
            if number:
                break
            found = ANONYMOUS.search(Path(f"/proc/{process.pid}/status").read_text())
            private = max(private, int(found[1]) if found else 0)
            time.sleep(0.02)
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed: see {log.name}")
    return usage.ru_utime + usage.ru_stime, private >> 10, usage.ru_maxrss >> 10


def verbs(benchmarks: Path) -> list[list[str]]:
    """The verbs of the data path with their arguments, in a folder that holds the documents `in`."""
    return [
        ["dedup", "--in", "in", "--out", "dedup"],
        ["decontaminate", "--in", "dedup", "--benchmarks", str(benchmarks.resolve()), "--out", "clean"],
        ["split", "--in", "clean", "--out", "split"],
        ["mix", "--in", "split", "--out", "mix"],
        ["train-tokenizer", "--in", "split/train", "--out", "tokenizer"],
        ["tokenize", "--in", "split", "--tokenizer", "tokenizer", "--out", "tokens"],
    ]


def compare_workers(chosen: argparse.Namespace, folder: Path) -> None:
    """Run the verbs with each number of workers, and print the rates of their passes over the documents."""
    found: dict[str, list[float]] = {}
    for workers in chosen.workers:
        for arguments in [["clean", "--in", "in", "--out", "cleaned"], *verbs(chosen.benchmarks)]:
            name, section = arguments[0], SECTIONS[arguments[0]]
            arguments += [*settings(name, chosen.memory_mb), "--set", f"launch.{section}.workers={workers}"]
            began = time.monotonic()
            measure(arguments, folder, workers)
            found.setdefault(f"`{name}`, whole verbs a minute", []).append(60 / (time.monotonic() - began))
            for task, unit, number, scale in PASS.findall((folder / f"{name}.log").read_text()):
                found.setdefault(f"{task}, {unit} a second", []).append(float(number) * SCALES[scale])
    print("| | " + " | ".join(f"{workers} workers" for workers in chosen.workers) + " | last to first |")
    print("|---" * (len(chosen.workers) + 2) + "|")
    for name, rates in found.items():
        print(f"| {name} | {' | '.join(f'{rate:,.4g}' for rate in rates)} | {rates[-1] / rates[0]:.2f} |")


def settings(verb: str, memory_mb: int) -> list[str]:
    """The buffers of a verb, where it has any, as arguments."""
    return ["--set", f"launch.{BOUNDED[verb]}.memory_mb={memory_mb}"] if verb in BOUNDED else []


def slopes(counts: list[int], seconds: list[float]) -> str:
    """Microseconds for each document more, from each size to the next: equal where time is linear."""
    steps = zip(pairwise(counts), pairwise(seconds), strict=True)
    return ", ".join(f"{(after - before) / (more - less) * 1e6:.0f}" for (less, more), (before, after) in steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in", dest="inputs", nargs="+", required=True, help="documents whose words are used")
    parser.add_argument("--benchmarks", type=Path, required=True, help="benchmark items for decontaminate")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--memory-mb", type=int, default=64, help="launch.*.memory_mb of the verbs that have it")
    parser.add_argument("--workers", type=int, nargs="+", help="compare these numbers of workers, in wall time")
    parser.add_argument("--limit-share", type=float, help="limit of each verb's memory as a share of the text")
    chosen = parser.parse_args()
    found: dict[str, list[tuple[float, int, int]]] = {}
    for count in chosen.documents:
        folder = (chosen.work / f"{count}-{chosen.words}").resolve()
        if not (folder / "in").exists():
            make(folder / "making", chosen.inputs, count, chosen.words)
            (folder / "making").rename(folder / "in")
        if chosen.workers:
            compare_workers(chosen, folder)
            continue
        limited = None
        if chosen.limit_share:
            text = text_megabytes(folder / "in")
            limited = cgroup(int(chosen.limit_share * text))
            print(f"{count:,} documents: {text} MB of text, limit {int(chosen.limit_share * text)} MB", file=sys.stderr)
        for arguments in verbs(chosen.benchmarks):
            figures = measure(arguments + settings(arguments[0], chosen.memory_mb), folder, limited=limited)
            found.setdefault(arguments[0], []).append(figures)
            print(f"{count:,} documents: {arguments[0]}: {figures[0]:.1f} CPU s", file=sys.stderr, flush=True)
    if chosen.workers:
        return
    print("| | " + " | ".join(f"{count:,} documents" for count in chosen.documents) + " | µs for each document more |")
    print("|---" * (len(chosen.documents) + 2) + "|")
    for verb, row in found.items():
        cells = " | ".join(f"{seconds:.1f} s, {private} MB, {resident} MB" for seconds, private, resident in row)
        print(f"| `{verb}` | {cells} | {slopes(chosen.documents, [figures[0] for figures in row])} |")
    totals = [
        sum(row[place][0] for verb, row in found.items() if verb != "mix") for place in range(len(chosen.documents))
    ]
    cells = " | ".join(f"{total:.1f} s" for total in totals)
    print(f"| together, without `mix` | {cells} | {slopes(chosen.documents, totals)} |")


if __name__ == "__main__":
    main()
