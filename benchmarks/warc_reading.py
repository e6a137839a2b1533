"""WARC reading: CPU seconds for every record's decoded body, against fastwarc's own iterator and warcio.

    python benchmarks/warc_reading.py --warc FILE.warc.gz ...          (any gzip WARC; real crawls are best)

The files' records are repeated to about `--megabytes` compressed. All three read the same file in one run, in turn; the
median of several runs counts. This project does more: it checks record boundaries, undoes transfer and content codings,
and decodes to text in the right charset. The others give bytes (fastwarc with HTTP parsed and decoding on; warcio with
`content_stream`). warcio is a benchmark requirement only: `pip install warcio` first, otherwise it is left out. Then
the whole stage `fetch` on such a file and on one ten times as large: CPU time and peak memory.
"""

import argparse
import gzip
import re
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType

from llm_core.corpus.sources.base import Document
from llm_core.corpus.sources.stage import fetch
from llm_core.corpus.sources.warc import read_warc_file
from llm_core.corpus.sources.warc_frames import read_frames
from llm_core.params.sources import FilesSource, Network


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


def repeat(files: list[Path], target: Path, bytes_wanted: float) -> None:
    """Write the files' records repeatedly, each time with new record ids, one gzip member each."""
    records: list[bytes] = []
    for file in files:
        with open(file, "rb") as stream:
            records += [frame.data for frame in read_frames(stream) if not frame.damage]
    number = 0
    with open(target, "wb") as sink:
        while sink.tell() < bytes_wanted:
            for data in records:
                renamed = re.sub(rb"urn:uuid:[^>]*", b"urn:uuid:%d" % number, data, count=1)
                sink.write(gzip.compress(renamed + b"\r\n\r\n", 1))
                number += 1


def peak_of(file: Path) -> tuple[float, int]:
    """CPU seconds and peak resident kilobytes of a fresh process that runs the stage on `file`."""
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        params = FilesSource(kind="files", paths=[str(file)])
        fetch("web", params, Network(), Path(folder, "out"), Path(folder, "scratch"))
    return time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warc", nargs="+", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    readers: list[Callable[[Path], tuple[int, int]]] = [ours, fastwarc]
    try:
        import warcio as _  # noqa: F401

        readers.append(warcio)
    except ImportError:
        print("warcio is not installed: left out", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.warc.gz"), Path(folder, "large.warc.gz")
        repeat(arguments.warc, small, arguments.megabytes * 1e6)
        repeat(arguments.warc, large, arguments.megabytes * 1e7)
        print(
            f"{small.stat().st_size / 1e6:.1f} MB; records and size:", {read.__name__: read(small) for read in readers}
        )
        runs = [[cpu_seconds(read, small) for read in readers] for _ in range(arguments.runs)]
        for number, read in enumerate(readers):
            median = statistics.median(run[number] for run in runs)
            ratio = statistics.median(run[number] / run[0] for run in runs)
            print(f"{read.__name__:9} {median:6.3f} CPU s   {ratio:5.2f} x ours")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            (one, peak), (ten, peak_ten) = pool.map(peak_of, [small, large])
        print(
            f"10 times the input: {ten / one:.2f} x the time, {peak_ten / peak:.3f} x the peak memory ({peak_ten} KB)"
        )


if __name__ == "__main__":
    main()
