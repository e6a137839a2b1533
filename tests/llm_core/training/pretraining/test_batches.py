"""The loader: exact rows by hand, every token once an epoch, and one global batch whatever the world size."""

import json
from pathlib import Path

import numpy as np
import pytest

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards, TokenWriter, token_schema
from llm_core.training.pretraining.batches import Batches, DocumentRange
from tests.llm_core.formats.test_token_shards import batch

PAD = 0


def corpus(folder: Path, lengths: list[int]) -> TokenShards:
    """Documents of unlike tokens: document d holds 1000 d + 1, 1000 d + 2, …"""
    schema = token_schema(1 << 20)
    rows = [(f"doc{d}", "xy"[d % 2], n, [1000 * d + i + 1 for i in range(n)]) for d, n in enumerate(lengths)]
    with TokenWriter(folder, schema, shard_tokens=100) as writer:
        for row in rows:
            writer.write(batch([row], schema))
    return TokenShards(folder)


def loader(shards: TokenShards, **changes: object) -> Batches:
    settings = {"sequence_length": 16, "sequences_per_step": 8, "seed": 5, "pad_id": PAD, **changes}
    return Batches(shards, **settings)  # type: ignore[arg-type]


@pytest.fixture
def shards(tmp_path: Path) -> TokenShards:
    return corpus(tmp_path, np.random.default_rng(0).integers(2, 60, 40).tolist())


def test_rows_by_hand(tmp_path: Path) -> None:
    made = loader(corpus(tmp_path, [20, 3]), sequence_length=16, sequences_per_step=2)
    rows = made.rows(np.arange(2))
    full, shared = np.argsort(-(rows.input_ids != PAD).sum(1))
    assert rows.input_ids[full].tolist() == list(range(1, 17))
    assert rows.targets[full].tolist() == list(range(2, 18))  # read across the cut
    assert rows.input_ids[shared].tolist() == [17, 18, 19, 20, 1001, 1002, 1003] + [PAD] * 9
    assert rows.targets[shared].tolist() == [18, 19, 20, -100, 1002, 1003, -100] + [-100] * 9
    assert rows.position_ids[shared].tolist() == [0, 1, 2, 3, 0, 1, 2] + [0] * 9
    assert rows.segment_ids[shared].tolist() == [1, 1, 1, 1, 2, 2, 2] + [0] * 9


@pytest.mark.parametrize("packing", ["best_fit", "concatenate"])
def test_an_epoch_trains_on_every_token_once(shards: TokenShards, packing: str) -> None:
    made = loader(shards, packing=packing)
    rows = made.rows(np.arange(made.sequences))
    tokens = np.concatenate([shards.ids(d) for d in range(len(shards))])
    targets = np.concatenate([shards.ids(d)[1:] for d in range(len(shards))])
    assert sorted(rows.input_ids[rows.segment_ids > 0].tolist()) == sorted(tokens.tolist())
    assert sorted(rows.targets[rows.targets >= 0].tolist()) == sorted(targets.tolist())
    assert made.epoch_tokens == len(targets)


def test_each_epoch_is_a_new_order_of_the_same_sequences(shards: TokenShards) -> None:
    made = loader(shards, sequences_per_step=1)
    epochs = [[int(made.sequences_of_step(e * made.sequences + i)[0]) for i in range(made.sequences)] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(made.sequences)) and epochs[0] != epochs[1]


@pytest.mark.parametrize(("world", "micro"), [(1, 8), (1, 2), (2, 4), (2, 1), (4, 2), (8, 1)])
def test_every_world_size_sees_the_same_step(shards: TokenShards, world: int, micro: int) -> None:
    made = loader(shards)
    whole = next(made.micro_batches(3, 8))
    cut = [b for rank in range(world) for b in made.micro_batches(3, micro, rank, world)]
    for field in range(4):
        assert (np.concatenate([b[field] for b in cut]) == whole[field]).all()


def test_target_tokens_counts_the_global_batch(shards: TokenShards) -> None:
    made = loader(shards)
    for step in range(12):
        assert made.target_tokens(step) == (next(made.micro_batches(step, 8)).targets >= 0).sum()


def test_documents_of_steps_names_exactly_what_the_batch_holds(shards: TokenShards) -> None:
    made = loader(shards)
    number = {shards.id(d): d for d in range(len(shards))}
    for step, ranges in made.documents_of_steps(10, 14):  # crosses an epoch's end
        rows = next(made.micro_batches(step, 8))
        for place in range(8):
            named = [shards.ids(number[r.id], r.start, r.stop) for r in ranges if r.sequence == place]
            assert np.concatenate(named).tolist() == rows.input_ids[place][rows.segment_ids[place] > 0].tolist()
        assert all(r.source == shards.source(number[r.id]) for r in ranges)


def test_steps_of_a_document_are_those_whose_batches_hold_it(shards: TokenShards) -> None:
    batches = loader(shards)
    steps = 3 * batches.sequences // batches.sequences_per_step  # three epochs
    replayed: dict[str, list[tuple[int, DocumentRange]]] = {}
    for step, documents in batches.documents_of_steps(0, steps):
        for document in documents:
            replayed.setdefault(document.id, []).append((step, document))
    for number in range(len(shards)):
        found = batches.steps_of_document(number, steps)
        assert found == sorted(replayed.get(shards.id(number), []), key=lambda item: (item[0], item[1][4], item[1][2]))


def test_state_is_small_and_rebuilds_the_loader(shards: TokenShards) -> None:
    made = loader(shards)
    state = json.loads(json.dumps(made.state_dict()))
    assert len(json.dumps(state)) < 400
    again = Batches.from_state(shards.folder, state)
    assert (again.rows(again.sequences_of_step(9)).input_ids == made.rows(made.sequences_of_step(9)).input_ids).all()
    with pytest.raises(UserError, match="seed 5 "):
        loader(shards, seed=6).check_state(state)


def test_a_step_that_cannot_be_cut_is_an_error(shards: TokenShards) -> None:
    with pytest.raises(UserError, match="multiple of 6"):
        next(loader(shards).micro_batches(0, 3, 0, 2))


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    with TokenWriter(tmp_path, token_schema(300)):
        pass
    with pytest.raises(UserError, match="holds no tokens"):
        loader(TokenShards(tmp_path))


def test_tensors(shards: TokenShards) -> None:
    import torch

    rows = next(loader(shards).micro_batches(0, 2)).to("cpu")
    assert rows.input_ids.dtype == torch.int64 and rows.targets.shape == (2, 16)
