"""Memory does not grow with the number of documents."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from llm_core.formats.documents import DocumentWriter

PROBE = """
import re, sys, threading
from llm_core.cli.dedup import app
peak, done = 0, threading.Event()
def watch():
    global peak
    while not done.wait(0.01):
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]))
watcher = threading.Thread(target=watch)
watcher.start()
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    done.set()
    watcher.join()
print(peak >> 10)
"""


def private_megabytes(folder: Path, count: int) -> int:
    """Peak of the private memory of `llm-core dedup` on `count` documents, a tenth of them near-duplicates."""
    draw = random.Random(count)
    texts: list[str] = []
    with DocumentWriter(folder / "in/documents") as writer:
        for start in range(0, count, 5000):
            texts = [" ".join(draw.choices(WORDS, k=20)) for _ in range(4500)]
            texts += [f"{text} again" for text in texts[:500]]
            writer.write_rows([{"id": f"{start + row:08}", "source": "a", "text": t} for row, t in enumerate(texts)])
    arguments = ["--in", "in", "--out", "out"]
    command = [sys.executable, "-c", PROBE, *arguments, "--set", "launch.deduplication.memory_mb=16"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


WORDS = [f"w{number}" for number in range(5000)]


@pytest.mark.slow
def test_many_times_the_documents_take_no_more_private_memory(tmp_path: Path) -> None:
    """Some 300 bytes a document, as it once was, would be 240 MB more."""
    small, large = private_megabytes(tmp_path / "small", 5_000), private_megabytes(tmp_path / "large", 800_000)
    assert large < small + 80
