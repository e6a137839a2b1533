"""Our quality rules against datatrove's: verdicts, reasons and changed texts, and documents per CPU-second.

`python -m benchmarks.cleaning CORPUS.parquet PEER_PYTHON` runs both on the same corpus in one run; the corpus is made
by `benchmarks.cleaning_corpus`, PEER_PYTHON is a Python that has datatrove, spacy and pyarrow. "Cold" begins with an
empty memo of words, "warm" is a second pass. Neither counts imports or numba's compilation.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from llm_core.corpus.cleaning.quality import GROUP_BYTES, QualityStep, Verdict
from llm_core.corpus.cleaning.rules.c4 import C4
from llm_core.params.quality import built_in

PEERS = {name: rules for name, rules in built_in().items() if name != "perplexity"}  # datatrove has no such filter
RECIPES = PEERS | {"c4_fineweb": [C4(filter_no_terminal_punct=False)]}
MEMO = 1 << 20


def groups(texts: list[str]) -> Iterator[list[str]]:
    """Texts in groups as the stage makes them."""
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def judge(name: str, texts: list[str]) -> list[Verdict]:
    """Our verdicts by one recipe."""
    step = QualityStep(name, RECIPES[name], MEMO)
    return [verdict for group in groups(texts) for verdict in step.judge(group)]


def same(theirs: list[Any], ours: Verdict) -> bool:
    """Whether verdict, reason and text are the same."""
    kept, reason, text = theirs
    if kept is True:
        return ours[0] is None and ours[2] == text
    return kept is False and ours[0] == reason.rpartition(":")[2]


def main(corpus: str, peer: str) -> None:
    """Run both and print what differs and how fast each is."""
    texts = pq.read_table(corpus, columns=["text"])["text"].to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "peer.jsonl")
        script = Path(__file__).with_name("cleaning_peer.py")
        subprocess.run([peer, str(script), corpus, str(out)], check=True)
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    *rows, total = rows
    step = QualityStep("fineweb", RECIPES["fineweb"], MEMO)
    for group in groups(
        ["Some [1] text, to compile every kernel. " * 20, "x" * 9, "\u2014", "odd#chunk", *texts[:500]]
    ):
        step.judge(group)
    step.words._reset()
    seconds = []
    for _ in range(4):  # the first with an empty memo, then three warm ones
        began = time.process_time()
        verdicts = judge("fineweb", texts)
        seconds.append(time.process_time() - began)
    cold, warm = seconds[0], sorted(seconds[1:])[1]
    for name in RECIPES:
        ours = verdicts if name == "fineweb" else judge(name, texts)
        different = sum(not same(row[name], verdict) for row, verdict in zip(rows, ours, strict=True))
        print(f"{name}: {different} of {len(texts)} differ from datatrove in verdict, reason or text")
    theirs = len(texts) / total["cpu_seconds"]
    print(f"datatrove {theirs:.0f} documents a CPU-second")
    for label, took in (("cold", cold), ("warm", warm)):
        print(
            f"ours, {label}: {len(texts) / took:.0f} a CPU-second, {len(texts) / took / theirs:.1f} times datatrove's"
        )


if __name__ == "__main__":
    main(*sys.argv[1:3])
