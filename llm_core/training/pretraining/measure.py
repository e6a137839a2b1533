"""Held-out loss during training: bits per byte for causal models, nats per predicted token for the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from llm_core.formats.token_shards import TokenShards
from llm_core.training.pretraining.batches import Batches
from llm_core.training.pretraining.engine import World, all_reduce
from llm_core.training.pretraining.heldout import bits_per_byte, heldout_batches, sample_documents
from llm_core.training.pretraining.objectives import Corruption, Inputs


class Heldout:
    """Held-out text and how to measure a model on it; ranks share the work."""

    def __init__(
        self, shards: TokenShards, world: World, *, sequence_length: int, batch_size: int, pad_id: int, seed: int
    ) -> None:
        self.shards, self.world, self.seed = shards, world, seed
        self.sequence_length, self.batch_size, self.pad_id = sequence_length, batch_size, pad_id

    def figures(self, engine: Any, corruption: Corruption, tokens: int) -> dict[str, float]:
        """What is measured on `tokens` tokens of each source, by its names in metrics.json and MLflow."""
        if corruption.objective != "causal":
            return {"heldout_loss": self.loss(engine, corruption, tokens)}
        found = self.bits_per_byte(engine, tokens)
        return {"heldout_bits_per_byte" + ("" if key == "all" else f"/{key}"): value for key, value in found.items()}

    @torch.no_grad()
    def bits_per_byte(self, engine: Any, tokens_per_source: int) -> dict[str, float]:
        """Bits per byte over all ("all") and per source, on a fixed sample of whole documents."""
        documents = sample_documents(self.shards, tokens_per_source, self.seed)
        places = {document: place for place, document in enumerate(documents)}
        nats = torch.zeros(len(documents), dtype=torch.float64, device="cpu")
        batches = list(
            heldout_batches(
                self.shards, sequence_length=self.sequence_length, batch_size=self.batch_size, pad_id=self.pad_id,
                documents=documents,
            )
        )  # fmt: skip
        with evaluating(engine):
            for number in range(self.world.rank, _round_up(len(batches), self.world.size), self.world.size):
                item = batches[min(number, len(batches) - 1)]  # every rank makes as many calls (ZeRO-3 gathers)
                losses = self._losses(engine, Inputs(*item.batch)).sum(1).double().cpu()
                if number < len(batches):
                    rows = torch.tensor([places[d] for d in item.documents.tolist()], device="cpu")
                    nats.index_add_(0, rows, losses)
        all_reduce(nats, engine.device)
        return bits_per_byte(self.shards, dict(zip(documents, nats.tolist(), strict=True)))

    @torch.no_grad()
    def loss(self, engine: Any, corruption: Corruption, tokens: int) -> float:
        """Mean loss per predicted token in nats, on fixed rows with fixed corruption, each read once at most: the same
        for any number of ranks."""
        batches = Batches(
            self.shards, sequence_length=self.sequence_length, sequences_per_step=1, seed=self.seed, pad_id=self.pad_id
        )
        rows = min(max(tokens // self.sequence_length, 1), batches.sequences)
        starts = range(0, rows, self.batch_size)
        total = torch.zeros(2, dtype=torch.float64, device="cpu")
        with evaluating(engine):
            for number in range(self.world.rank, _round_up(len(starts), self.world.size), self.world.size):
                first = starts[min(number, len(starts) - 1)]  # every rank makes as many calls (ZeRO-3 gathers)
                chosen = [batches.sequences_of_step(row) for row in range(first, min(first + self.batch_size, rows))]
                inputs = corruption(batches.rows(np.concatenate(chosen)), 0, first)
                losses = self._losses(engine, inputs).sum().double().cpu()
                if number < len(starts):
                    total += torch.stack([losses, torch.tensor(float((inputs.targets >= 0).sum()), device="cpu")])
        all_reduce(total, engine.device)
        return float(total[0] / total[1])

    def _losses(self, engine: Any, inputs: Inputs) -> Any:
        tensors = [None if array is None else torch.from_numpy(array).to(engine.device) for array in inputs]
        return engine(*tensors, per_token=True)


@contextmanager
def evaluating(engine: Any) -> Iterator[None]:
    """No dropout, and compiled blocks run uncompiled, because every width of rows would need its own compilation."""
    engine.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        engine.train()


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def measured_rows(sequence_length: int) -> int:
    """Number of rows of a held-out batch of about 8,192 tokens."""
    return max(8192 // sequence_length, 1)
