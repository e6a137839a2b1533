"""Trains one tiny model under many engine settings within one process group, and prints as JSON for each case the
losses of its steps, the norms of their gradients and the held-out figure.

    torchrun --standalone --nproc-per-node 2 -m tests.llm_core.training.pretraining.matrix FOLDER [CASE…]

A CASE is a comma-separated list of overrides. Starting Python once for all keeps the test short.
"""

import json
import sys
import tempfile
from pathlib import Path

from llm_core.params import load
from llm_core.tracking import runs
from llm_core.training.pretraining import engine as engines
from llm_core.training.pretraining.assemble import assemble
from tests.llm_core.training.pretraining import tiny


def main() -> None:
    folder = Path(sys.argv[1])
    world = engines.world()
    engines.join(offload=False)
    found = {}
    for case in sys.argv[2:]:
        changes = [f"{key}={json.dumps(value)}" for key, value in tiny.SETTINGS.items()]
        changes += ["pretraining.checkpoint_every=1000", *case.split(",")]
        params = load(folder / "params.yaml", changes)
        with tempfile.TemporaryDirectory() as scratch:
            training = assemble(
                params,
                folder / "tokens",
                folder / "tokenizer",
                Path(scratch),
                "fp32",
                world,
                runs.Run(None, "", ""),
            )
            training.compile()
            steps = []
            while training.step < training.steps:
                steps.append(training._train_step())
                training.step += 1
            held = training.measure(400)
        figures = [step[name] for name in ("loss", "gradient_norm") for step in steps]
        found[case] = [*figures, held.get("heldout_bits_per_byte", held.get("heldout_loss", 0.0))]
    if world.main:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
