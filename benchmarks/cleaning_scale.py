"""Ten times the input: CPU time and peak memory of `clean`, each size in a process of its own, one worker.

    python benchmarks/cleaning_scale.py --corpus data/clean/bible --megabytes 8

The corpus is a folder of documents of one kind (of several, the small run would see only the first). It is repeated
with new ids and a new word in front of each document: most words are known by then, and time grows by less than ten.
Time is printed with and without what an almost empty run costs (imports, compiled kernels).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def write(corpus: Path, size: int, file: Path) -> None:
    """About `size` bytes of text, in row groups of 1,024 documents: one piece each, when `clean` divides them."""
    import pyarrow as pa

    from llm_core.formats.documents import SCHEMA, DocumentWriter, read_documents

    written = copy = 0
    with DocumentWriter(file) as writer:
        while written < size:
            for batch in read_documents(sorted(corpus.rglob("documents"))):
                rows = []
                for row in batch.to_pylist():
                    if written >= size:
                        break
                    row["id"] = f"{row['id']}-{copy}"
                    row["text"] = f"copy{copy}x{written % 1000003} " + row["text"]
                    written += len(row["text"].encode())
                    rows.append(row)
                writer.write(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
                if written >= size:
                    break
            copy += 1


def run(source: Path, out: Path, steps: list[str]) -> None:
    """Clean in this process; print CPU seconds and peak memory."""
    from llm_core.corpus.cleaning.stage import clean
    from llm_core.params.cleaning import Cleaning
    from llm_core.params.launch import CleaningLaunch

    metrics = clean([source], out, Cleaning(steps=steps), launch=CleaningLaunch(workers=1))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    print(json.dumps(figures | {"bytes": metrics["bytes_in"], "documents": metrics["documents_in"]}))


def main() -> None:
    """Measure an almost empty run, one size and ten times that size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--steps", default="repair,language,fineweb")
    parser.add_argument("--run", nargs=2, type=Path, help="used by the script itself")
    given = parser.parse_args()
    if given.run:
        run(*given.run, given.steps.split(","))
        return
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("empty", 1), ("one", given.megabytes * 1e6), ("ten", given.megabytes * 1e7)):
            source = Path(folder, name)
            write(given.corpus, int(size), source)
            command = [sys.executable, __file__, "--corpus", str(given.corpus), "--steps", given.steps]
            command += ["--run", str(source), str(source) + ".out"]
            lines = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()
            figures.append(json.loads(lines[-1]))
            print(name, figures[-1], flush=True)
    empty, one, ten = figures
    grown = ten["bytes"] / one["bytes"]
    whole = ten["seconds"] / one["seconds"]
    beyond = (ten["seconds"] - empty["seconds"]) / (one["seconds"] - empty["seconds"])
    print(f"input x {grown:.2f}: CPU time x {whole:.2f} ({beyond:.2f} beyond the empty run's), ", end="")
    print(f"peak memory x {ten['peak_mb'] / one['peak_mb']:.3f}")


if __name__ == "__main__":
    main()
