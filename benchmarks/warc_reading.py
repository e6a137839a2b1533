"""WARC reading: CPU seconds for every record's decoded body, against fastwarc's own iterator and warcio.

    python benchmarks/warc_reading.py --warc FILE.warc.gz ...          (any gzip WARC; real crawls say most)

The files' records are repeated to about `--megabytes` compressed. All three read the same file in one run, in turn;
the median of several runs counts. Ours does more: it checks record boundaries, undoes transfer and content codings,
and decodes to text in the right charset. The others give bytes (fastwarc with HTTP parsed and decoding on; warcio with
`content_stream`). warcio is a benchmark requirement only: `pip install warcio` beforehand, else it is left out.
Then the same on a file ten times as large: time and peak memory.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType

from llm_core.sources.base import Document
from llm_core.sources.warc import read_warc_file


def ours(file: Path) -> tuple[int, int]:
    """Documents and characters by this project."""
    documents = [0, 0]
    for record in read_warc_file(file, Counter()):
        if isinstance(record, Document):
            documents[0] += 1
            documents[1] += len(record.text)
    return documents[0], documents[1]


def fastwarc(file: Path) -> tuple[int, int]:
    """Responses and bytes by fastwarc's iterator."""
    count = size = 0
    with open(file, "rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, auto_decode="all"):
            count += 1
            size += len(record.reader.read())
    return count, size


def warcio(file: Path) -> tuple[int, int]:
    """Responses and bytes by warcio."""
    from warcio.archiveiterator import ArchiveIterator as WarcioIterator

    count = size = 0
    with open(file, "rb") as stream:
        for record in WarcioIterator(stream):
            if record.rec_type == "response":
                count += 1
                size += len(record.content_stream().read())
    return count, size


def cpu_seconds(read: Callable[[Path], tuple[int, int]], file: Path) -> float:
    """CPU seconds of one reading."""
    begin = time.process_time()
    read(file)
    return time.process_time() - begin


def peak_of(file: Path) -> tuple[float, int]:
    """CPU seconds and peak resident kilobytes of a fresh process that reads `file` by ours."""
    seconds = cpu_seconds(ours, file)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warc", nargs="+", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    data = b"".join(file.read_bytes() for file in arguments.warc)
    readers: list[Callable[[Path], tuple[int, int]]] = [ours, fastwarc]
    try:
        import warcio as _  # noqa: F401

        readers.append(warcio)
    except ImportError:
        print("warcio is not installed: left out", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.warc.gz"), Path(folder, "large.warc.gz")
        small.write_bytes(data * max(1, round(arguments.megabytes * 1e6 / len(data))))
        with open(large, "wb") as stream:
            for _number in range(10):
                stream.write(small.read_bytes())
        print(
            f"{small.stat().st_size / 1e6:.1f} MB; records and size:", {read.__name__: read(small) for read in readers}
        )
        runs = [[cpu_seconds(read, small) for read in readers] for _ in range(arguments.runs)]
        for number, read in enumerate(readers):
            median = statistics.median(run[number] for run in runs)
            ratio = statistics.median(run[number] / run[0] for run in runs)
            print(f"{read.__name__:9} {median:6.3f} CPU s   {ratio:5.2f} x ours")
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            (one, peak), (ten, peak_ten) = pool.map(peak_of, [small, large], chunksize=1)
        print(
            f"10 times the input: {ten / one:.2f} x the time, {peak_ten / peak:.3f} x the peak memory ({peak_ten} KB)"
        )


if __name__ == "__main__":
    main()
