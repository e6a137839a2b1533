"""LLaMA with the switches of the speed records, of llm_core/models/speedrun.py; `model.speedrun` sets them."""

from typing import Any

from llm_core.models.families.llama import settings
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config; without `sliding_window` every layer attends to all tokens before."""
    from llm_core.models.speedrun import SpeedrunConfig

    switches = model.speedrun
    made = settings(model, sizes, positions, common)
    if switches.relu_squared and model.feed_forward is None:
        made["intermediate_size"] = 4 * sizes.width
    kinds = ["full_attention"] * sizes.layers
    if model.sliding_window:
        pattern = switches.window_pattern * sizes.layers
        kinds = ["sliding_attention" if one == "S" else "full_attention" for one in pattern[: sizes.layers]]
        kinds[-1] = "full_attention"
    return SpeedrunConfig(
        **made, **switches.model_dump(exclude={"window_pattern"}), sliding_window=model.sliding_window,
        layer_types=kinds, final_logit_softcapping=model.logit_softcap,
    )  # fmt: skip


def network(config: Any) -> Any:
    """Its class."""
    from llm_core.models.speedrun import SpeedrunForCausalLM

    return SpeedrunForCausalLM


def register() -> None:
    """Its module registers the classes where it is imported."""
    from llm_core.models import speedrun  # noqa: F401


FAMILY = Family(
    config=config, model_types=("llm_core_speedrun",), network=network, gated=True, register=register,
    narrows_masks=True,
    knobs=frozenset({"sliding_window", "key_value_heads", "rope_scaling", "logit_softcap", "speedrun"}),
)  # fmt: skip
