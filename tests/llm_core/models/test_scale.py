"""The dial, and which matrices Muon takes."""

import pytest

from llm_core.errors import UserError
from llm_core.models import networks
from llm_core.models.family import Vocabulary
from llm_core.models.scale import Shape, horizon, shape
from llm_core.params.model import Model
from llm_core.training.pretraining.optimizers import muon_matrices

VOCABULARY = Vocabulary(64, 0, 1, 2)


def test_derived_and_overridden() -> None:
    assert shape(Model(scale=4)) == Shape(4, 256, 4, 4, 704)
    assert shape(Model(scale=4, family="gpt2", width=128)) == Shape(4, 128, 2, 2, 512)
    with pytest.raises(UserError, match="multiple"):
        shape(Model(width=100, heads=3))


def test_horizon_is_twenty_tokens_a_parameter_and_larger_models_learn_slower() -> None:
    small, large = horizon(4_000_000, 512), horizon(400_000_000, 512)
    assert small.tokens == 80_000_000
    assert small.learning_rate > large.learning_rate and small.batch_tokens < large.batch_tokens


@pytest.mark.parametrize(("family", "count"), [("llama", 14), ("gpt2", 0), ("t5", 2 * 4 + 2 * 4 + 2 * 4 + 2 * 3 * 2)])
def test_muon_takes_the_matrices_of_blocks_alone(family: str, count: int) -> None:
    model = Model(family=family, layers=2, width=32, heads=2, feed_forward=64)  # type: ignore[arg-type]
    network = networks.build_network(networks.build_config(model, VOCABULARY, 16), "auto", 0)
    names = muon_matrices(network)
    assert not [name for name in names if any(part in name for part in ("embed", "wte", "wpe", "shared", "head"))]
    if count:
        assert len(names) == count


def test_what_a_family_lacks_is_said() -> None:
    with pytest.raises(UserError, match="sliding_window: gpt2"):
        networks.build_config(Model(family="gpt2", sliding_window=8), VOCABULARY, 16)
