"""Held-out windows: every target exactly once, and bits per byte by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from llm_core.training.pretraining.heldout import bits_per_byte, heldout_batches, sample_documents
from tests.llm_core.training.pretraining.test_batches import corpus


@pytest.mark.parametrize("stride", [None, 8, 5, 1])
def test_every_target_once_with_the_right_context(tmp_path: Path, stride: int | None) -> None:
    lengths = [2, 40, 17, 16, 18, 33, 1]
    shards = corpus(tmp_path, lengths)
    seen: dict[int, list[int]] = {d: [] for d in range(len(lengths))}
    for made in heldout_batches(shards, sequence_length=16, batch_size=4, pad_id=0, stride=stride, round_to=4):
        for row, document in enumerate(made.documents.tolist()):
            inputs, targets = made.batch.input_ids[row], made.batch.targets[row]
            scored = np.flatnonzero(targets >= 0)
            assert (targets[scored] == inputs[scored] + 1).all()  # tokens of a document are consecutive numbers
            if stride and len(scored) and inputs[0] != 1000 * document + 1:
                assert scored[0] >= 16 - stride  # beyond a document's beginning: at least this much context
            seen[document] += targets[scored].tolist()
    for document in range(len(lengths)):
        assert sorted(seen[document]) == shards.ids(document)[1:].tolist()


def test_rows_are_no_wider_than_needed(tmp_path: Path) -> None:
    shards = corpus(tmp_path, [5, 9])
    (made,) = heldout_batches(shards, sequence_length=64, batch_size=4, pad_id=0, round_to=8)
    assert made.batch.input_ids.shape == (2, 8) and made.documents.tolist() == [1, 0]


def test_bits_per_byte_by_hand(tmp_path: Path) -> None:
    shards = corpus(tmp_path, [4, 6, 10])  # bytes as many as tokens; sources x, y, x
    nats = {0: 8 * math.log(2), 1: 3 * math.log(2), 2: 6 * math.log(2)}
    assert bits_per_byte(shards, nats) == pytest.approx({"all": 17 / 20, "x": 14 / 14, "y": 3 / 6})


def test_sample_takes_whole_documents_of_every_source(tmp_path: Path) -> None:
    shards = corpus(tmp_path, [10] * 20)
    chosen = sample_documents(shards, 35, seed=1)
    assert [shards.source(d) for d in chosen].count("x") == 4 and len(chosen) == 8
    assert chosen == sample_documents(shards, 35, seed=1) != sample_documents(shards, 35, seed=2)
