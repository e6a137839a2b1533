"""Do Word2Vec's token vectors help a model to start? Held-out bits per byte against random rows, seed by seed.

    python benchmarks/embedding_initialization.py --data data --out /tmp/initial --seeds 1 2 3

All runs start in the same way (`pretraining.parent`), so only the rows of the embedding differ: `random` is the
network that `llm-core pretrain` would draw from the seed, `cbow` and `skipgram` have Word2Vec's rows in it. The seconds
that Word2Vec took are printed too: it must gain more than as many seconds of training would.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

SMALL = [
    "model.layers=2",
    "model.width=128",
    "model.heads=2",
    "model.feed_forward=null",
    "pretraining.phases=[]",
    "pretraining.sequence_length=256",
    "pretraining.batch_tokens=2048",
    "pretraining.evaluate_every=50",
    "pretraining.evaluate_tokens_final=20000",
    "pretraining.optimizer.warmup_steps=10",
    "launch.pretraining.threads=1",
    "pretraining.sample_every=0",
    "word2vec.epochs=1",
]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("data"), help="with tokens/ and tokenizer/")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options.add_argument("--steps", type=int, default=150)
    options.add_argument("--starts", nargs="+", default=["cbow", "skipgram"], choices=["cbow", "skipgram"])
    given = options.parse_args()
    rows: dict[str, dict[int, dict[int, float]]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in given.seeds:
        for start in ("random", *given.starts):
            place = given.out / f"{start}-{seed}"
            changes = [*SMALL, f"seed={seed}", f"pretraining.steps={given.steps}"]
            seconds.setdefault(start, []).append(prepare(start, given, place, changes))
            seconds.setdefault("training", []).append(train(given, place, changes))
            log = (place / "model" / "training_log.jsonl").read_text().splitlines()
            measured = {row["step"]: row["heldout_bits_per_byte"] for row in map(json.loads, log)
                        if "heldout_bits_per_byte" in row}  # fmt: skip
            rows.setdefault(start, {})[seed] = measured
            print(f"{start} seed {seed}: {measured}", flush=True)
    print(json.dumps(summary(rows, seconds), indent=2))


def prepare(start: str, given: Any, place: Path, changes: list[str]) -> float:
    """Write the model that a run starts from; CPU seconds."""
    tokens, tokenizer = given.data / "tokens", given.data / "tokenizer"
    if start != "random":
        command = ["initialize-embeddings", "--tokens", str(tokens), "--tokenizer", str(tokenizer)]
        return verb([*command, "--algorithm", start, "--out", str(place / "initial")], given.params, changes)
    from llm_core.models.family import family
    from llm_core.params import load
    from llm_core.training.pretraining.assemble import fresh_network, load_tokenizer

    params = load(given.params, changes)
    tokenizer_of, vocabulary, _ = load_tokenizer(tokenizer, family(params.model.family))
    fresh_network(params, vocabulary).save_pretrained(place / "initial")
    tokenizer_of.save_pretrained(place / "initial")
    return 0.0


def train(given: Any, place: Path, changes: list[str]) -> float:
    """Pretrain from it; CPU seconds."""
    command = ["pretrain", "--tokens", str(given.data / "tokens"), "--tokenizer", str(given.data / "tokenizer")]
    changes = [*changes, f"pretraining.parent={place / 'initial'}"]
    return verb([*command, "--out", str(place / "model")], given.params, changes)


def verb(arguments: list[str], params: Path, changes: list[str]) -> float:
    """Run `llm-core` and give its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    settings = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "llm_core.cli", *arguments, "--params", str(params), *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def summary(rows: dict[str, dict[int, dict[int, float]]], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Mean bits per byte by step, and each start's paired difference from random (mean, minimum, maximum)."""
    figures: dict[str, Any] = {"cpu_seconds_median": {name: statistics.median(s) for name, s in seconds.items()}}
    for start, runs in rows.items():
        for step in sorted(next(iter(runs.values()))):
            values = [run[step] for run in runs.values()]
            entry = {"bits_per_byte": round(statistics.mean(values), 4)}
            if start != "random":
                gaps = [run[step] - rows["random"][seed][step] for seed, run in runs.items()]
                entry |= {"minus_random": round(statistics.mean(gaps), 4), "lowest": round(min(gaps), 4),
                          "highest": round(max(gaps), 4)}  # fmt: skip
            figures.setdefault(start, {})[step] = entry
    return figures


if __name__ == "__main__":
    main()
