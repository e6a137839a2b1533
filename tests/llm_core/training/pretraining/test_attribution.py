"""Whose loss it is, on numbers that a reader can check by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llm_core.formats.token_shards import TokenShards
from llm_core.training.pretraining.attribution import Share, by_source, local_sums, raising
from llm_core.training.pretraining.batches import Batches, DocumentRange
from llm_core.training.pretraining.objectives import Inputs
from tests.llm_core.training.pretraining.test_batches import PAD, corpus


def share(name: str, source: str, nats: float, targets: int) -> Share:
    return Share(DocumentRange(name, source, 0, targets + 1, 0), nats, targets)


FOUND = [share("a", "x", 6.0, 3), share("b", "y", 12.0, 2), share("a", "x", 2.0, 1), share("c", "y", 0.0, 0)]


def test_the_loss_of_a_source_is_the_mean_over_its_targets() -> None:
    assert by_source(FOUND) == {"loss/x": 8 / 4, "loss/y": 12 / 2}


def test_documents_are_named_by_what_they_add_to_the_loss() -> None:
    """Above a usual loss of 1, b adds 12 - 2 = 10 nats and a 8 - 4 = 4; c, without targets, adds none."""
    assert raising(FOUND, 1.0) == [{"id": "b", "source": "y", "loss": 6.0}, {"id": "a", "source": "x", "loss": 2.0}]
    assert [one["id"] for one in raising(FOUND, 3.0)] == ["b"]


@pytest.mark.parametrize("sequence", [1, 2])
def test_each_document_gets_the_losses_of_its_own_tokens(tmp_path: Path, sequence: int) -> None:
    """The loss of a token is here its document's number; two processes share the rows, or the tokens of each row."""
    shards = corpus(tmp_path, np.random.default_rng(0).integers(2, 30, 40).tolist())
    batches = Batches(shards, sequence_length=16, sequences_per_step=8, seed=3, pad_id=PAD)
    number = {shards.id(document): document for document in range(len(shards))}
    ((_, ranges),) = batches.documents_of_steps(2, 3)
    together = np.zeros((2, len(ranges)))
    for rank in range(2):
        first, rows = (0, 8) if sequence == 2 else (4 * rank, 4)
        part = slice(8 * rank, 8 * rank + 8) if sequence == 2 else slice(None)
        made, losses = [], []
        for batch in batches.micro_batches(2, 2, first // rows, 8 // rows):
            owners = owner(batch.input_ids, shards, number, ranges, first + 2 * len(made))
            losses.append(torch.from_numpy(owners[:, part]))
            made.append(Inputs(*(array[:, part] for array in batch)))
        together += local_sums(ranges, made, losses, first, 16, sequence, rank if sequence == 2 else 0)
    sums, counts = together
    assert counts.sum() == batches.target_tokens(2)
    for item, total, count in zip(ranges, sums, counts, strict=True):
        last = item.stop == shards.lengths[number[item.id]]  # a document's last token predicts nothing
        assert count == item.stop - item.start - last and total == count * number[item.id]


def owner(
    ids: np.ndarray, shards: TokenShards, number: dict[str, int], ranges: list[DocumentRange], first: int
) -> np.ndarray:
    """The number of the document of each token, found in the rows themselves."""
    found = np.zeros(ids.shape)
    for row in range(len(ids)):
        slot = 0
        for item in (item for item in ranges if item.sequence == first + row):
            size = item.stop - item.start
            assert ids[row, slot : slot + size].tolist() == shards.ids(number[item.id], item.start, item.stop).tolist()
            found[row, slot : slot + size] = number[item.id]
            slot += size
    return found
