"""CPU time and memory of the second half of the data path, from `dedup` to `tokenize`, as the corpus grows.

    python -m benchmarks.data_path --in data/clean/addresses data/clean/bible data/clean/factbook \\
        --benchmarks data/benchmarks --work WORK

The documents are those of `deduplication_scaling.py`: runs of 20 words of real text, a tenth of them near-duplicates.
Each verb is a process of its own with the default params and buffers of `--memory-mb`. Private memory is what cannot be
taken from the process (RssAnon); the peak of all resident memory counts the mapped files too, which the kernel may
write out.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.deduplication_scaling import make

BOUNDED = {"dedup": "deduplication", "decontaminate": "decontamination", "split": "split"}
ANONYMOUS = re.compile(r"RssAnon:\s+(\d+)")


def measure(arguments: list[str], folder: Path) -> tuple[float, int, int]:
    """Run a verb in `folder`: CPU seconds, peak of private memory and of resident memory in MB."""
    command = [sys.executable, "-m", "llm_core.cli", *arguments]
    with open(folder / f"{arguments[0]}.log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in", dest="inputs", nargs="+", required=True, help="documents whose words are used")
    parser.add_argument("--benchmarks", type=Path, required=True, help="benchmark items for decontaminate")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--memory-mb", type=int, default=64, help="launch.*.memory_mb of the verbs that have it")
    chosen = parser.parse_args()
    for count in chosen.documents:
        folder = (chosen.work / f"{count}-{chosen.words}").resolve()
        if not (folder / "in").exists():
            make(folder / "making", chosen.inputs, count, chosen.words)
            (folder / "making").rename(folder / "in")
        verbs = [
            ["dedup", "--in", "in", "--out", "dedup"],
            ["decontaminate", "--in", "dedup", "--benchmarks", str(chosen.benchmarks.resolve()), "--out", "clean"],
            ["split", "--in", "clean", "--out", "split"],
            ["train-tokenizer", "--in", "split/train", "--out", "tokenizer"],
            ["tokenize", "--in", "split", "--tokenizer", "tokenizer", "--out", "tokens"],
        ]
        print(f"| {count:,} documents | CPU s | private MB | resident MB |\n|---|---|---|---|")
        total = 0.0
        for arguments in verbs:
            if section := BOUNDED.get(arguments[0]):
                arguments += ["--set", f"launch.{section}.memory_mb={chosen.memory_mb}"]
            seconds, private, resident = measure(arguments, folder)
            total += seconds
            print(f"| `{arguments[0]}` | {seconds:.1f} | {private} | {resident} |", flush=True)
        print(f"| together | {total:.1f} | | |\n", flush=True)


if __name__ == "__main__":
    main()
