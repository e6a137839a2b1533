"""Rotary positions that change while a network is trained, as the extension of its context needs.

A larger base (Rozière et al. 2023, arXiv:2308.12950, section 2.4) or YaRN (Peng et al. 2023, arXiv:2309.00071) turns
positions more slowly, so that a longer sequence has angles that the network knows. The rules are transformers' own
(`rope_parameters` of a config); no weight depends on them, so a network takes new ones between two steps.
"""

from copy import deepcopy
from typing import Any

from llm_core.params.model import RopeScaling

FULL = "full_attention"  # where a config has positions for each kind of layer: that of layers that see all tokens


def rope_parameters(theta: float, scaling: RopeScaling, positions: int) -> dict[str, Any]:
    """What transformers' configs hold about rotary positions; `positions` is the number before stretching where
    `scaling` names none."""
    rope: dict[str, Any] = {"rope_theta": theta, "rope_type": scaling.rope_type}
    if rope["rope_type"] != "default":
        rope |= {
            "factor": scaling.factor,
            "original_max_position_embeddings": scaling.original_max_position_embeddings or positions,
        }
        if rope["rope_type"] == "llama3":
            rope |= {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    return rope


def rope_of(config: Any) -> dict[str, Any] | None:
    """The rotary parameters of a config, of the layers that see all tokens; None where it has no rotary positions."""
    rope = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    rope = rope if "rope_theta" in rope else rope.get(FULL) or {}
    return deepcopy(rope) if "rope_theta" in rope else None


def set_rope(network: Any, rope: dict[str, Any]) -> None:
    """Let the layers that see all tokens have these rotary parameters, in the network and in its config."""
    import torch

    config = network.config.get_text_config(decoder=True)
    if "rope_theta" in config.rope_parameters:
        config.rope_parameters = deepcopy(rope)
    else:
        config.rope_parameters = {**config.rope_parameters, FULL: deepcopy(rope)}
    for module in network.modules():
        if not type(module).__name__.endswith("RotaryEmbedding"):
            continue
        module.config.rope_parameters = deepcopy(config.rope_parameters)
        with torch.device("cpu"):
            made = type(module)(module.config)
        for name, value in made.named_buffers():
            getattr(module, name).copy_(value)
        plain = {name: value for name, value in vars(made).items() if not name.startswith("_")}
        for name in plain.keys() - {"training", "config"}:
            setattr(module, name, plain[name])
