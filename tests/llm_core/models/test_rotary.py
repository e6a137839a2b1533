"""Rotary positions that change between two steps: what the network then computes is what its config says."""

from pathlib import Path

import pytest
import torch
import transformers

from llm_core.errors import UserError
from llm_core.models.family import Vocabulary, families, register
from llm_core.models.networks import build_config, build_network
from llm_core.models.rotary import FULL, rope_of, rope_parameters, set_rope
from llm_core.params.model import Model, RopeScaling
from llm_core.params.pretraining import Pretraining
from llm_core.training.pretraining.phases import rope_of_phases

IDS = torch.arange(48)[None] % 60
YARN = rope_parameters(50_000.0, RopeScaling(rope_type="yarn", factor=4.0), 16)


def made(name: str) -> torch.nn.Module:
    """The fourth layer of olmo3 sees all tokens."""
    model = Model(family=name, layers=4, width=32, heads=2, feed_forward=64)
    return build_network(build_config(model, Vocabulary(64, 0, 1, 2), 64), "sdpa", 0).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(name for name, one in families().items() if "rope_scaling" in one.knobs))
def test_the_network_and_its_export_compute_with_the_new_positions(name: str, tmp_path: Path) -> None:
    register()
    network = made(name)
    before = network(IDS).logits
    set_rope(network, YARN)
    after = network(IDS).logits
    assert rope_of(network.config) == YARN
    network.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa").eval()
    assert torch.equal(again(IDS).logits, after)
    assert again.config.rope_parameters.get(FULL, again.config.rope_parameters)["rope_type"] == "yarn"
    if name != "speedrun":  # whose projections into the stream begin at zero
        assert not torch.allclose(before, after, atol=1e-5)


def test_a_larger_base_turns_by_hand() -> None:
    """Heads of 16 have 8 angles; of one position they are theta to the power of -i/8."""
    network = made("llama")
    set_rope(network, rope_parameters(256.0, RopeScaling(), 16))
    expected = [256 ** (-i / 8) for i in range(8)]
    assert network.model.rotary_emb.inv_freq.tolist() == pytest.approx(expected)


def settings(*phases: dict[str, object], **others: object) -> Pretraining:
    named = [{"name": str(number), "steps": 1, **phase} for number, phase in enumerate(phases)]
    return Pretraining.model_validate({"phases": named, "sequence_length": 16, **others})


def test_a_phase_keeps_what_the_phase_before_had() -> None:
    config = made("llama").config
    assert rope_of_phases(settings({}, {}), config) == []
    yarn = {"rope_type": "yarn", "factor": 4}
    found = rope_of_phases(
        settings({}, {"rope_theta": 5e4, "sequence_length": 32}, {"rope_scaling": yarn, "sequence_length": 64}, {}),
        config,
    )
    first = {"rope_theta": 10_000.0, "rope_type": "default"}
    last = first | {"rope_theta": 5e4, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    assert found == [first, first | {"rope_theta": 5e4}, last, last]


def test_a_parents_positions_are_the_original_ones() -> None:
    """Not the length to which its config has been extended, nor the first phase's."""
    yarn = {"rope_type": "yarn", "factor": 4}
    phases = settings({"rope_scaling": yarn, "sequence_length": 256}, parent="data/models/base")
    (found,) = rope_of_phases(phases, made("llama").config, 64)
    assert found["original_max_position_embeddings"] == 64


def test_networks_without_such_positions_are_refused() -> None:
    with pytest.raises(UserError, match="1 has rope_theta, and a gpt2 has none"):
        model = Model(family="gpt2", layers=1, width=32, heads=2)
        rope_of_phases(settings({}, {"rope_theta": 5e4}), build_config(model, Vocabulary(64, 0, 1, 2), 64))
    with pytest.raises(UserError, match="0 has rope_scaling, and a phi3 has none"):
        model = Model(family="phi3", layers=1, width=32, heads=2)
        rope_of_phases(
            settings({"rope_scaling": {"rope_type": "yarn"}}), build_config(model, Vocabulary(64, 0, 1, 2), 64)
        )
