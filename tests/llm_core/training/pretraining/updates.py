"""Trains a tiny model for some steps under several engine settings; keeps what its first step did to each weight, and
the weights after the last one. The second step of a case whose name begins with `spike` is a spike; all gradients are
infinite in it where the name begins with `spike_infinite`.

    torchrun --standalone --nproc-per-node 2 -m tests.llm_core.training.pretraining.updates FOLDER NAME=CASE…

A CASE is a comma-separated list of overrides. FOLDER/updates/NAME.pt has {"first": {weight: (before, after)},
"last": {weight: value}}.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from llm_core.params import load
from llm_core.tracking import runs
from llm_core.training.pretraining import engine as engines
from llm_core.training.pretraining import partitioned
from llm_core.training.pretraining.assemble import assemble
from llm_core.training.pretraining.stability import LEAST
from tests.llm_core.training.pretraining import tiny


def main() -> None:
    folder, world = Path(sys.argv[1]), engines.world()
    engines.join(offload=False)
    for named in sys.argv[2:]:
        name, _, case = named.partition("=")
        changes = [f"{key}={json.dumps(value)}" for key, value in tiny.SETTINGS.items()]
        params = load(folder / "params.yaml", [*changes, *case.split(",")])
        with tempfile.TemporaryDirectory() as scratch:
            training = assemble(
                params, folder / "tokens", folder / "tokenizer", Path(scratch), "fp32", world, runs.Run(None, "", "")
            )
            states = [weights(training)]
            if name.startswith("spike_infinite"):
                make_infinite(training)
            while training.step < training.steps:
                if name.startswith("spike") and training.step == 1:
                    training.guard.losses = [0.0] * LEAST
                training._train_step()
                training.step += 1
                states.append(weights(training))
        if world.main:
            (folder / "updates").mkdir(exist_ok=True)
            first = {key: (before, states[1][key]) for key, before in states[0].items()}
            torch.save({"first": first, "last": states[-1]}, folder / "updates" / f"{name}.pt")
        engines.barrier()


def make_infinite(training: Any) -> None:
    """From now on every gradient of the second step is infinite."""

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        return torch.full_like(gradient, torch.inf) if training.step == 1 else gradient

    for parameter in training.engine.module.network.parameters():
        parameter.register_hook(hook)


def weights(training: Any) -> dict[str, torch.Tensor]:
    """The whole weights as they are now; all processes call it."""
    parameters = dict(training.engine.module.network.named_parameters())
    if training.params.zero_stage < 3:
        return {name: value.detach().clone() for name, value in parameters.items()}
    with partitioned.whole(parameters.values()):
        return {name: value.detach().clone() for name, value in parameters.items()}


if __name__ == "__main__":
    main()
