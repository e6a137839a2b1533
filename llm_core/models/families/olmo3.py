"""OLMo 3 (OLMo team 2025, arXiv:2512.13961): OLMo 2 in which three layers of four attend to a sliding window."""

from typing import Any

from llm_core.models.families.llama import settings
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers; without `sliding_window` every layer attends to all tokens before."""
    import transformers

    made = settings(model, sizes, positions, common)
    rope = made.pop("rope_parameters")  # the scaling of long contexts is for the layers that see them
    window = {"rope_type": "default", "rope_theta": model.rope_theta}
    kinds = None if model.sliding_window else ["full_attention"] * sizes.layers
    return transformers.Olmo3Config(
        sliding_window=model.sliding_window or positions, layer_types=kinds,
        rope_parameters={"full_attention": rope, "sliding_attention": window}, **made,
    )  # fmt: skip


FAMILY = Family(
    config=config, model_types=("olmo3",), gated=True, separates_documents=False,
    knobs=frozenset({"sliding_window", "key_value_heads", "rope_scaling"}),
)  # fmt: skip
