"""Tokens per core-second of a training step: this project beside Trainer, nanoGPT, litgpt and nanochat.

    git clone https://github.com/karpathy/nanoGPT; git clone https://github.com/karpathy/nanochat
    git clone https://github.com/Lightning-AI/litgpt
    pip install --target SITE --no-deps lightning pytorch-lightning torchmetrics lightning-utilities jsonargparse \
        litdata docstring-parser typeshed-client
    PYTHONPATH=.:SITE python benchmarks/pretraining_peers.py --tokens data/tokens --tokenizer data/tokenizer \
        --nanogpt nanoGPT --nanochat nanochat --litgpt litgpt

The same shape (blocks, width, heads, vocabulary), tokens a step, tokens, precision and number of threads (one) for all.
llama is compared with Trainer, litgpt and nanochat (whose network is its own), gpt2 with nanoGPT. Rounds are
interleaved; a figure is the median over all steps of all rounds after the first three, in CPU seconds of the process,
so that other work on the machine disturbs all equally. `NAME+compile` is with torch.compile; its cost has its own
column. A contender that fails is named, and the others continue.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from llm_core.formats.token_shards import TokenShards
from llm_core.training.pretraining import launch
from llm_core.training.pretraining.machine import measure_matmul

WARM = 3
PEERS = ("nanogpt", "nanochat", "litgpt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="data/tokens")
    parser.add_argument("--tokenizer", default="data/tokenizer")
    for peer in PEERS:
        parser.add_argument(f"--{peer}", help="a checkout of it")
    parser.add_argument("--contenders", nargs="+", help="by default all whose checkout is named, eager and compiled")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rows", type=int, default=8)
    chosen = vars(parser.parse_args())
    names = chosen["contenders"] or [
        *("ours-llama", "ours-llama-muon", "ours-gpt2", "trainer"), *(peer for peer in PEERS if chosen[peer]),
        *("ours-llama+compile", "ours-llama-muon+compile", "trainer+compile"),
        *(f"{peer}+compile" for peer in PEERS if chosen[peer]),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(chosen, Path(folder))
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for round_ in range(chosen["rounds"]):
            for name in names:
                timed = run(name, settings, Path(folder) / f"{name}-{round_}")
                if timed:
                    found[name].append(timed)
                    print(f"round {round_ + 1}, {name}: {_speed([timed], settings):,.0f}", file=sys.stderr)
    _table({name: runs for name, runs in found.items() if runs}, settings)


def settings_of(chosen: dict[str, Any], folder: Path) -> dict[str, Any]:
    shards = TokenShards(Path(chosen["tokens"]) / "train")
    np.concatenate([shards.ids(document) for document in range(len(shards))]).astype(np.uint16).tofile(folder / "train")
    absolute = {key: str(Path(value).resolve()) for key, value in chosen.items() if key in PEERS and value}
    width = chosen["width"]
    pad = AutoTokenizer.from_pretrained(chosen["tokenizer"]).pad_token_id
    return chosen | absolute | {
        "bin": str(folder / "train"), "tokens": str(Path(chosen["tokens"]).resolve()),
        "tokenizer": str(Path(chosen["tokenizer"]).resolve()), "vocabulary": -(-shards.vocab_size // 64) * 64,
        "pad": pad, "heads": width // 64, "feed_forward": -(-8 * width // 3 // 64) * 64,
    }  # fmt: skip


def run(name: str, settings: dict[str, Any], folder: Path, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Train contender `name` in its own process, with its usual environment; returns what it measured."""
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = folder / "settings.json"
    given.write_text(json.dumps(settings | {"result": str(folder / "result.json"), "port": port}))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | (variables or {})
    if name.startswith("ours"):  # what the verb's launcher sets
        environment |= launch.ENVIRONMENT
    script = Path(__file__).with_name("pretraining_peer.py").resolve()
    done = subprocess.run([sys.executable, str(script), name, str(given)], cwd=folder, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    if not (folder / "result.json").exists():
        print(f"{name} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}", file=sys.stderr)
        return {}
    return json.loads((folder / "result.json").read_text())  # type: ignore[no-any-return]


def _speed(runs: list[dict[str, Any]], settings: dict[str, Any]) -> float:
    steps = [seconds for run in runs for seconds in run["steps"][WARM:]]
    return float(settings["rows"] * settings["length"] / statistics.median(steps))


def _table(found: dict[str, list[dict[str, Any]]], settings: dict[str, Any]) -> None:
    speeds = {name: _speed(runs, settings) for name, runs in found.items()}
    rivals = [speed for name, speed in speeds.items() if not name.startswith(("ours", "nanochat"))]
    best = max(rivals) if rivals else float("nan")
    torch.set_num_threads(1)
    peak = measure_matmul(settings["precision"])
    print(f"{settings['layers']} blocks of width {settings['width']}, {settings['rows']} x {settings['length']} tokens "
          f"a step, {settings['precision']}, one thread, matmul peak {peak / 1e9:.0f} GFLOP/s, "
          f"{settings['rounds']} round(s) of {settings['steps']} steps\n")  # fmt: skip
    print("| contender | tokens per core-second | times the best of Trainer, nanoGPT, litgpt | CPU s to the first step"
          " | memory, GB |\n| --- | --- | --- | --- | --- |")  # fmt: skip
    for name, speed in sorted(speeds.items(), key=lambda item: -item[1]):
        first = statistics.median(run["first"] for run in found[name])
        memory = max(run["memory"] for run in found[name]) / 1e9
        print(f"| {name} | {speed:,.0f} | {speed / best:.2f} | {first:.0f} | {memory:.2f} |")


if __name__ == "__main__":
    main()
