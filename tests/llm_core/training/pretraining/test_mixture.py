"""Mixtures at load: exact shares, passes that share no sequence, replay of what each step saw, refusals."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.params.pretraining import Mixture
from llm_core.training.pretraining.batches import Batches
from tests.llm_core.training.pretraining.test_batches import corpus, loader

LENGTHS = np.random.default_rng(0).integers(2, 60, 400).tolist()


@pytest.fixture
def shards(tmp_path: Path) -> TokenShards:
    """400 documents; those with an even number are of source x, the others of y."""
    return corpus(tmp_path, LENGTHS)


def mixed(
    shards: TokenShards, weights: dict[str, float], tokens: int, max_epochs: float = 4, **changes: Any
) -> Batches:
    mixture = Mixture(weights=weights, max_epochs=max_epochs)
    return loader(shards, mixture=mixture, mixture_tokens=tokens, **changes)


def seen(made: Batches, steps: int) -> list[tuple[int, str, str, int, int, int]]:
    return [
        (step, item.id, item.source, item.start, item.stop, item.sequence)
        for step, found in made.documents_of_steps(0, steps)
        for item in found
    ]


def test_sources_of_documents(shards: TokenShards) -> None:
    names, codes = shards.sources()
    assert names == ["x", "y"]
    assert [names[code] for code in codes] == shards.column("source")


@pytest.mark.parametrize("weights", [{"x": 9, "y": 1}, {"x": 0.5, "y": 0.5}, {"x": 1}, {"x": 0, "y": 2}])
@pytest.mark.parametrize("tokens", [2_000, 20_000])
def test_a_run_has_the_shares_of_the_weights(shards: TokenShards, weights: dict[str, float], tokens: int) -> None:
    made = mixed(shards, weights, tokens)
    steps = -(-made.sequences // made.sequences_per_step)
    counts: Counter[str] = Counter()
    for _, _, source, start, stop, _ in seen(made, steps):
        counts[source] += stop - start
    extra = steps * made.sequences_per_step - made.sequences  # a second epoch fills the last step
    for source, weight in weights.items():
        wanted = tokens * weight / sum(weights.values())
        assert (counts[source] == 0) == (weight == 0)
        assert wanted <= counts[source] < wanted + max(LENGTHS) + extra * made.sequence_length or not weight
        if weight:
            assert made.mixture_figures(steps)[f"mixture_share/{source}"] == pytest.approx(
                weight / sum(weights.values()), abs=0.03
            )


def test_a_source_is_read_whole_before_it_is_read_again_and_copies_share_no_sequence(shards: TokenShards) -> None:
    size = sum(LENGTHS[0::2])
    made = mixed(shards, {"x": 1}, int(2.5 * size), sequence_length=64)
    times = Counter(made.plan.document[made.plan.start == 0].tolist())
    assert set(times) == set(range(0, 400, 2)) and set(times.values()) == {2, 3}
    assert made.mixture_figures(made.sequences // made.sequences_per_step)["mixture_epochs/x"] == pytest.approx(
        2.5, abs=0.05
    )
    for sequence in range(made.sequences):
        inside = made.plan.document[slice(*made.plan.first[sequence : sequence + 2])].tolist()
        assert len(inside) == len(set(inside))


def test_the_state_of_a_checkpoint_makes_the_same_run(shards: TokenShards) -> None:
    made = mixed(shards, {"x": 3, "y": 1}, 9_000)
    again = Batches.from_state(shards, made.state_dict())
    assert seen(again, 30) == seen(made, 30)
    with pytest.raises(UserError, match="mixture"):
        mixed(shards, {"x": 2, "y": 1}, 9_000).check_state(made.state_dict())
    plain = loader(shards)
    old = {key: value for key, value in plain.state_dict().items() if not key.startswith("mixture")}
    plain.check_state(old)  # written before there were mixtures
    assert seen(Batches.from_state(shards, old), 5) == seen(plain, 5)


def test_every_step_of_a_document_is_found(shards: TokenShards) -> None:
    made = mixed(shards, {"x": 1}, 12_000)
    steps = made.sequences // made.sequences_per_step
    name = shards.id(4)
    found = [(step, item.start, item.stop) for step, item in made.steps_of_document(4, steps)]
    assert sorted(found) == sorted(
        (step, start, stop) for step, id, _, start, stop, _ in seen(made, steps) if id == name
    )
    assert len({step for step, _, _ in found}) > 1


def test_refusals(shards: TokenShards) -> None:
    with pytest.raises(UserError, match=r"mixture\.weights.*web.*there are x, y"):
        mixed(shards, {"web": 1}, 100)
    with pytest.raises(UserError, match=r"source x .* times, and max_epochs is 4; lower its weight"):
        mixed(shards, {"x": 1}, 5 * sum(LENGTHS))


def test_epochs_by_source_are_read_as_often_as_asked(shards: TokenShards) -> None:
    """Three readings of y for each of x, in a run of as many tokens: whole passes over both."""
    sizes = {"x": sum(LENGTHS[0::2]), "y": sum(LENGTHS[1::2])}
    mixture = Mixture(epochs={"x": 1, "y": 3})
    made = loader(shards, mixture=mixture, mixture_tokens=sizes["x"] + 3 * sizes["y"])
    times = Counter(made.plan.document[made.plan.start == 0].tolist())
    assert {times[document] for document in range(0, 400, 2)} == {1}
    assert {times[document] for document in range(1, 400, 2)} == {3}
    half = loader(shards, mixture=mixture, mixture_tokens=(sizes["x"] + 3 * sizes["y"]) // 2)
    figures = half.mixture_figures(half.sequences // half.sequences_per_step)
    assert figures["mixture_epochs/x"] == pytest.approx(0.5, abs=0.03)
    assert figures["mixture_epochs/y"] == pytest.approx(1.5, abs=0.05)


def test_long_documents_alone_and_whole(shards: TokenShards) -> None:
    mixture = Mixture(epochs={"x": 1, "y": 1}, min_tokens=20, whole_documents=True)
    size = sum(length for length in LENGTHS if 20 <= length <= 32)
    made = loader(shards, mixture=mixture, mixture_tokens=size, sequence_length=32)
    plan = made.plan
    wanted = {document for document, length in enumerate(LENGTHS) if 20 <= length <= 32}
    assert set(plan.document.tolist()) == wanted and len(plan.document) == len(wanted)
    assert [LENGTHS[document] for document in plan.document.tolist()] == plan.length.tolist(), "none is cut"
    assert made.mixture_figures(made.sequences // made.sequences_per_step)["mixture_epochs/x"] <= 1
    again = Batches.from_state(shards, made.state_dict())
    assert seen(again, 5) == seen(made, 5)
    cut = loader(shards, mixture=Mixture(weights={"x": 1}, min_tokens=40), mixture_tokens=900, sequence_length=32)
    assert min(LENGTHS[document] for document in cut.plan.document.tolist()) >= 40


def test_a_state_from_before_newer_settings_is_known(shards: TokenShards) -> None:
    made = mixed(shards, {"x": 3, "y": 1}, 9_000)
    state = made.state_dict()
    old = state | {"mixture": {"weights": {"x": 3.0, "y": 1.0}, "max_epochs": 4.0}}
    assert seen(Batches.from_state(shards, old), 9) == seen(made, 9)


def test_what_a_mixture_cannot_draw_is_refused(shards: TokenShards) -> None:
    with pytest.raises(ValueError, match="either weights or epochs"):
        Mixture(weights={"x": 1}, epochs={"x": 1})
    with pytest.raises(ValueError, match="either weights or epochs"):
        Mixture()
    with pytest.raises(UserError, match=r"mixture\.epochs.*web.*there are x, y"):
        loader(shards, mixture=Mixture(epochs={"web": 1}), mixture_tokens=100)
    with pytest.raises(UserError, match=r"source x has no document of 60 tokens or more; its documents have 2 to 59"):
        loader(shards, mixture=Mixture(weights={"x": 1}, min_tokens=60), mixture_tokens=100)
    with pytest.raises(UserError, match="that fits into 16"):
        strict = Mixture(weights={"x": 1}, min_tokens=20, whole_documents=True)
        loader(shards, mixture=strict, mixture_tokens=100, sequence_length=16)
    with pytest.raises(UserError, match="set packing best_fit"):
        whole = Mixture(weights={"x": 1}, whole_documents=True)
        loader(shards, mixture=whole, mixture_tokens=100, packing="concatenate")
