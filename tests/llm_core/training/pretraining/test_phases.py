"""Phases: the plan by hand, the loader's documents across a boundary and backwards, refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.params.pretraining import Pretraining
from llm_core.training.pretraining.phases import PhasedBatches, Plan, loader_from_state, plan_phases
from tests.llm_core.training.pretraining.test_batches import PAD, corpus

PHASES = [
    {"name": "short", "tokens": 1000, "sequence_length": 8, "batch_tokens": 64},
    {"name": "middle", "steps": 5, "sequence_length": 8},
    {"name": "long", "steps": 4, "batch_tokens": 96, "learning_rate": 0.5, "mixture": {"weights": {"y": 1}}},
]


def settings(phases: list[dict[str, Any]] = PHASES, **changes: Any) -> Pretraining:
    return Pretraining.model_validate({"sequence_length": 16, "micro_batch": 2, "phases": phases, **changes})


def plan(processes: int = 1) -> Plan:
    return plan_phases(settings(), 32, 99, processes)


@pytest.fixture
def shards(tmp_path: Path) -> TokenShards:
    return corpus(tmp_path, np.random.default_rng(0).integers(2, 60, 60).tolist())


@pytest.fixture
def made(shards: TokenShards) -> PhasedBatches:
    return PhasedBatches.of_plan(shards, plan(), settings(), seed=5, pad_id=PAD)


def test_the_plan_by_hand() -> None:
    found = plan()
    assert [(one.steps, one.sequence_length, one.batch_tokens) for one in found.phases] == [
        (16, 8, 64), (5, 8, 32), (4, 16, 96),
    ]  # fmt: skip
    # passes hold two sequences of 16 tokens, so four of 8
    assert [(one.micro_batch, one.accumulation) for one in found.phases] == [(4, 2), (4, 1), (2, 3)]
    assert (found.steps, found.tokens) == (25, 16 * 64 + 5 * 32 + 4 * 96)
    assert [found.tokens_before(step) for step in (0, 16, 17, 21, 25)] == [0, 1024, 1056, 1184, 1568]
    assert found.of(20) == (4, found.phases[1])
    assert [step for step in range(25) if found.begins(step)] == [0, 16, 21]
    assert [one.accumulation for one in plan(2).phases] == [1, 1, 3]


def test_phases_share_the_steps_of_the_run() -> None:
    given = settings([{"name": "a", "share": 8}, {"name": "b", "share": 1}], steps=1)
    assert [[one.steps for one in plan_phases(given, 32, steps, 1).phases] for steps in (9, 720, 4, 2)] == [
        [8, 1], [640, 80], [3, 1], [1, 1],
    ]  # fmt: skip
    with pytest.raises(UserError, match="1 steps are too few for 2 phases"):
        plan_phases(given, 32, 1, 1)


def test_a_run_without_phases_is_one_phase() -> None:
    (only,) = plan_phases(settings([], steps=None), 64, 7, 2).phases
    assert (only.name, only.steps, only.micro_batch, only.accumulation) == ("", 7, 2, 1)


def test_documents_of_steps_are_what_each_batch_holds(shards: TokenShards, made: PhasedBatches) -> None:
    number = {shards.id(d): d for d in range(len(shards))}
    lengths = [8] * 21 + [16] * 4
    for step, ranges in made.documents_of_steps(0, 25):
        rows = np.concatenate([batch.input_ids for batch in made.micro_batches(step, 1)])
        assert rows.shape[1] == lengths[step]
        for place, row in enumerate(rows):
            named = [shards.ids(number[r.id], r.start, r.stop) for r in ranges if r.sequence == place]
            assert np.concatenate(named).tolist() == row[row != PAD].tolist()
        assert step < 21 or {r.source for r in ranges} == {"y"}


def test_a_phase_goes_on_where_the_last_one_stopped(made: PhasedBatches) -> None:
    """Equal sequence lengths share one order, so no sequence comes twice before all came once."""
    (_, _, first), (_, _, second), _ = made.parts
    whole = [n for step in range(16) for n in first.sequences_of_step(step).tolist()]
    whole += [n for step in range(5) for n in second.sequences_of_step(step).tolist()]
    epoch = whole[: first.sequences]
    assert len(set(epoch)) == len(epoch) and second.first_sequence == 16 * 8


def test_steps_of_a_document_are_those_that_held_it(shards: TokenShards, made: PhasedBatches) -> None:
    held: dict[str, list[tuple[int, int, int]]] = {}
    for step, ranges in made.documents_of_steps(0, 23):
        for item in ranges:
            held.setdefault(item.id, []).append((step, item.sequence, item.start))
    for document in range(len(shards)):
        found = [(step, item.sequence, item.start) for step, item in made.steps_of_document(document, 23)]
        assert found == sorted(held.get(shards.id(document), []))


def test_the_state_rebuilds_the_loader_and_refuses_another(shards: TokenShards, made: PhasedBatches) -> None:
    state = json.loads(json.dumps(made.state_dict()))
    again = loader_from_state(shards.folder, state)
    assert list(again.documents_of_steps(0, 25)) == list(made.documents_of_steps(0, 25))
    other = plan_phases(settings([*PHASES[:2], PHASES[2] | {"steps": 5}]), 32, 99, 1)
    with pytest.raises(UserError, match=r"trained in phases .*'long', 4"):
        PhasedBatches.of_plan(shards, other, settings(), seed=5, pad_id=PAD).check_state(state)
    with pytest.raises(UserError, match="trained in phases None"):
        made.check_state(state["phases"][0]["loader"])
    with pytest.raises(UserError, match="first_sequence 0 "):
        made.parts[1][2].check_state(state["phases"][0]["loader"] | {"sequences_per_step": 4})


@pytest.mark.parametrize(
    ("phases", "why"),
    [
        ([PHASES[0] | {"steps": 3}], "phase short needs one of share, steps and tokens"),
        ([{"name": "a", "share": 1}, {"name": "b", "steps": 2}], "either all phases have a share"),
        ([{"name": "a", "steps": 1}, {"name": "a", "steps": 2}], "two phases have the name a"),
        ([{"name": "a", "tokens": 5, "rows": 3}], "rows"),
    ],
)
def test_phases_that_contradict_themselves_are_refused(phases: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        settings(phases)
    with pytest.raises(ValueError, match="steps follow from the phases"):
        settings(steps=12)


def test_phases_that_cannot_be_filled_are_refused(shards: TokenShards) -> None:
    with pytest.raises(UserError, match="tiny has 5 tokens and a step takes 32"):
        plan_phases(settings([{"name": "tiny", "tokens": 5}]), 32, 9, 1)
    with pytest.raises(UserError, match=r"batch_tokens 40 \(phase odd\) must be a multiple"):
        plan_phases(settings([{"name": "odd", "steps": 5, "batch_tokens": 40}]), 32, 9, 1)
    greedy = settings([{"name": "long", "steps": 900, "mixture": {"weights": {"y": 1}}}])
    with pytest.raises(UserError, match=r"phase long: .* 28,800 tokens .* tokens of source y"):
        PhasedBatches.of_plan(shards, plan_phases(greedy, 32, 9, 1), greedy, seed=5, pad_id=PAD)
    unknown = settings([{"name": "late", "steps": 2, "mixture": {"weights": {"zz": 1}}}])
    with pytest.raises(UserError, match=r"phase late: .*zz.*x.*y"):
        PhasedBatches.of_plan(shards, plan_phases(unknown, 32, 9, 1), unknown, seed=5, pad_id=PAD)
