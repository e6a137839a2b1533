"""Each family for some hundred steps on real tokens: held-out loss, export, reload in plain transformers, continuation.

    python benchmarks/pretraining_families.py --tokens data/tokens --tokenizer data/tokenizer [--families gpt2 t5 …]

One small shape for all (2 blocks of width 64), fp32, one process. Held-out is bits per byte, for bert and t5 nats per
predicted token. "difference" is the maximum difference between logits of the trained network and of the same folder
loaded by transformers' own classes (this project's with trust_remote_code). "continued" goes on from that folder as
`pretraining.parent`, a quarter of the steps more. Exits with 1 if a family does not learn, does not reload with equal
logits, or does not continue.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from llm_core.params import Params, load
from llm_core.tracking import runs
from llm_core.training.pretraining import engine as engines
from llm_core.training.pretraining.assemble import assemble
from llm_core.training.pretraining.export import Weights

FAMILIES = ("llama", "gpt2", "gptj", "bloom", "opt", "bert", "t5", "lstm", "speedrun")
CLASSES = {"bert": transformers.AutoModelForMaskedLM, "t5": transformers.AutoModelForSeq2SeqLM}
SETTINGS = {
    "model.layers": 2, "model.width": 64, "model.heads": 2, "model.feed_forward": None,
    "pretraining.sequence_length": 128, "pretraining.batch_tokens": 1024, "pretraining.micro_batch": 8,
    "pretraining.precision": "fp32", "pretraining.optimizer.learning_rate": 0.01, "pretraining.checkpoint_every": 10**6,
    "pretraining.evaluate_every": 10**6, "pretraining.sample_every": 0, "pretraining.log_every": 50,
}  # fmt: skip
HELDOUT = 4000  # tokens of each source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, default=Path("data/tokens"))
    parser.add_argument("--tokenizer", type=Path, default=Path("data/tokenizer"))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--steps", type=int, default=300)
    chosen = parser.parse_args()
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1"}.items():
        os.environ.setdefault(name, str(value))
    os.environ.setdefault("MASTER_PORT", str(29500 + os.getpid() % 1000))
    torch.set_num_threads(1)
    engines.join(offload=False)
    print("| family | class | parameters | held-out before | after | continued | difference | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    failed = False
    for family in chosen.families:
        with tempfile.TemporaryDirectory() as folder:
            row = _train(family, chosen, Path(folder))
        good = row["after"] < 0.95 * row["before"] and row["continued"] < row["after"] and row["difference"] < 1e-4
        failed |= not good
        print(f"| {family} | {row['class']} | {row['parameters']:,} | {row['before']:.4f} | {row['after']:.4f} | "
              f"{row['continued']:.4f} | {row['difference']:.1e} | {row['seconds']:.0f} |", flush=True)  # fmt: skip
    sys.exit(failed)


def _train(family: str, chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    began, out = time.process_time(), folder / "model"
    training = _assemble(family, chosen, folder / "first", chosen.steps, None)
    before = _heldout(training)
    training.run()
    after = _heldout(training)
    network = training.engine.module.network.eval()
    Weights(network, 1, out.parent, 1 << 40, training.world).export(training.tokenizer, out)
    found = CLASSES.get(family, transformers.AutoModelForCausalLM)
    again = found.from_pretrained(out, trust_remote_code=family in ("lstm", "speedrun")).eval()
    ids = torch.arange(200).view(2, 100) + 6
    extra = {"decoder_input_ids": ids} if family == "t5" else {}
    with torch.no_grad():
        difference = (network(input_ids=ids, **extra).logits - again(input_ids=ids, **extra).logits).abs().max()
    more = _assemble(family, chosen, folder / "second", max(chosen.steps // 4, 1), out)
    more.run()
    return {
        "class": type(again).__name__, "parameters": sum(value.numel() for value in network.parameters()),
        "before": before, "after": after, "continued": _heldout(more), "difference": float(difference),
        "seconds": time.process_time() - began,
    }  # fmt: skip


def _assemble(family: str, chosen: argparse.Namespace, scratch: Path, steps: int, parent: Path | None) -> Any:
    scratch.mkdir()
    (scratch / "params.yaml").write_text("seed: 1\n")
    settings: dict[str, Any] = SETTINGS | {"model.family": family, "pretraining.steps": steps}
    if parent:  # on at the rate that the first run ended with
        settings |= {"pretraining.parent": str(parent), "pretraining.optimizer.learning_rate": 0.001}
    params: Params = load(scratch / "params.yaml", [f"{key}={json.dumps(value)}" for key, value in settings.items()])
    silent = runs.Run(None, "", "")
    return assemble(params, chosen.tokens, chosen.tokenizer, scratch / "a" / "b", "fp32", engines.world(), silent)


def _heldout(training: Any) -> float:
    found = training.measure(HELDOUT)
    return float(found.get("heldout_bits_per_byte", found.get("heldout_loss", float("nan"))))


if __name__ == "__main__":
    main()
