"""Kernels of the data verbs and of the loss, compiled ahead: `python -m llm_core.runtime.kernels_ahead`.

numba compiles a kernel for the types of its first call, on one core, and keeps it in its cache. In a new environment
that takes the data verbs a minute and a half. `make install` runs them over a few made documents instead, in two lines
and the loss beside them, so that they start at once from then on.
"""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SENTENCE = "the river ran over old stones, and nobody in the village knew who had put 1,234 of them there before"
VERBS = (  # two lines of verbs that share few kernels
    (
        "clean --in in --out cleaned --set cleaning.steps=[repair,language,gopher_quality]",
        "train-tokenizer --in in --out tokenizer --set tokenizer.vocab_size=400",
        "tokenize --in in --tokenizer tokenizer --out tokens",
    ),
    (
        "dedup --in in --out dedup",
        "decontaminate --in dedup --benchmarks items.txt --out decontaminated",
        "split --in decontaminated --out split",
    ),
)
LOSS = """
import numpy as np
from llm_core.kernels.cross_entropy import softmax_rows
softmax_rows(np.zeros((1, 2), np.uint16), np.zeros(1, np.int64), 0.0, *np.zeros((2, 1), np.float32))
"""


def main() -> list[str]:
    """Run both lines of verbs over the same documents, and the loss; what those that failed printed."""
    print("compiling the kernels of the data verbs, about a minute on two cores", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "in/made.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in _texts()))
        (folder / "items.txt").write_text(SENTENCE + "\n")
        with ThreadPoolExecutor(len(VERBS) + 1) as pool:
            loss = pool.submit(subprocess.run, [sys.executable, "-c", LOSS], text=True, capture_output=True)
            failed = [said for line in pool.map(lambda verbs: run(verbs, folder), VERBS) for said in line]
        failed += [loss.result().stderr] if loss.result().returncode else []
    if failed:  # nothing is lost: a kernel that is not compiled now is at its first use
        print(f"not all kernels were compiled ahead: {failed[0]}", file=sys.stderr)
    return failed


def _texts() -> list[str]:
    """Documents of a few lines each, the last two nearly the same, so that pairs are compared."""
    texts, words = [], SENTENCE.split()
    for number in range(40):
        turned = words[number % len(words) :] + words[: number % len(words)]
        texts.append("\n".join([*(" ".join(turned[start:]) for start in range(8)), f"“Été” {number}: 東京."]))
    return [*texts, texts[-1] + " More."]


def run(verbs: tuple[str, ...], folder: Path) -> list[str]:
    """Run verbs in turn; what the first one that failed printed."""
    environment = os.environ | {"LLM_CORE_TRACKING": "off"}
    for verb in verbs:
        command = [sys.executable, "-m", "llm_core.cli", *verb.split()]
        done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
        if done.returncode:
            return [f"llm-core {verb}\n{done.stderr}"]
    return []


if __name__ == "__main__":
    main()
