"""Trains one tiny model of each FAMILY, exports it, reloads it in plain transformers; prints facts as JSON.

torchrun --standalone --nproc-per-node 1 -m tests.llm_core.training.pretraining.family_runs FOLDER …
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers

from llm_core.params import load
from llm_core.tracking import runs
from llm_core.training.pretraining import engine as engines
from llm_core.training.pretraining.assemble import assemble
from llm_core.training.pretraining.export import Weights
from tests.llm_core.training.pretraining import tiny

CLASSES = {"masked": transformers.AutoModelForMaskedLM, "span": transformers.AutoModelForSeq2SeqLM}


def main() -> None:
    folder = Path(sys.argv[1])
    engines.join(offload=False)
    print(json.dumps({case: train(folder, case) for case in sys.argv[2:]}))


def train(folder: Path, case: str) -> dict[str, Any]:
    """Train the run in `folder` with the settings of `case`; what was found."""
    changes = [f"{key}={json.dumps(value)}" for key, value in tiny.SETTINGS.items()]
    changes += ["pretraining.steps=40", "pretraining.checkpoint_every=1000", *case.split(",")]
    params = load(folder / "params.yaml", changes)
    with tempfile.TemporaryDirectory() as scratch:
        training = assemble(
            params, folder / "tokens", folder / "tokenizer", Path(scratch), "fp32", engines.world(),
            runs.Run(None, "", ""),
        )  # fmt: skip
        before = training.measure(400)
        training.run()
        after = training.measure(400)
        name = "heldout_loss" if "heldout_loss" in before else "heldout_bits_per_byte"
        out = Path(scratch) / "out"
        network = training.engine.module.network.eval()
        weights = Weights(network, 1, out.parent, 1 << 40, training.world)
        weights.export(training.tokenizer, out, continued=bool(params.pretraining.parent))
        objective = training.engine.module.objective
        again = CLASSES.get(objective, transformers.AutoModelForCausalLM).from_pretrained(out).eval()
        ids = torch.arange(40).view(2, 20) + 6
        extra = {"decoder_input_ids": ids} if objective == "span" else {}
        with torch.no_grad():
            difference = (network(input_ids=ids, **extra).logits - again(input_ids=ids, **extra).logits).abs().max()
            inputs = training.corruption(next(training.batches.micro_batches(0, 4)), 0, 0)
            tensors = [None if part is None else torch.from_numpy(part) for part in inputs]
            ours = training.engine.module.eval().token_losses(*tensors)
        return {
            "before": before[name],
            "after": after[name],
            "difference": float(difference),
            "class": type(again).__name__,
            "losses": [row["loss"] for row in training.reports.log.rows() if "loss" in row],
            "our_loss": float(ours.sum() / (tensors[1] >= 0).sum()),
            "their_loss": _plain_loss(again, objective, tensors),
            "files": sorted(file.name for file in out.iterdir()),
        }


def _plain_loss(network: Any, objective: str, tensors: list[Any]) -> float:
    """The mean loss that plain transformers gives for the same rows (documents of a row see one another)."""
    inputs, targets, _, segments, decoder = tensors
    with torch.no_grad():
        if objective == "span":
            logits = network(input_ids=inputs, attention_mask=(segments > 0).long(), decoder_input_ids=decoder).logits
        elif objective == "masked":
            logits = network(input_ids=inputs, attention_mask=(segments > 0).long()).logits
        else:
            logits = network(input_ids=inputs).logits
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()))


if __name__ == "__main__":
    main()
