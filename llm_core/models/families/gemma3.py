"""Gemma 3 (Gemma team 2025, arXiv:2503.19786), text alone: norms before and behind each part and of queries and keys.

Five layers of six attend to a sliding window, with rotary positions of their own base.
"""

from typing import Any

from llm_core.models.families.llama import settings
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model

LOCAL_THETA = 10_000.0  # base of the rotary positions of layers with a window


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config in transformers; without `sliding_window` every layer attends to all tokens before."""
    import transformers

    made, head = settings(model, sizes, positions, common), sizes.width // sizes.heads
    rope = made.pop("rope_parameters")
    window = {"rope_type": "default", "rope_theta": LOCAL_THETA}
    kinds = None if model.sliding_window else ["full_attention"] * sizes.layers
    return transformers.Gemma3TextConfig(
        head_dim=head, query_pre_attn_scalar=head, sliding_window=model.sliding_window or positions, layer_types=kinds,
        rope_parameters={"full_attention": rope, "sliding_attention": window},
        final_logit_softcapping=model.logit_softcap, **made,
    )  # fmt: skip


FAMILY = Family(
    config=config, model_types=("gemma3_text",), gated=True, separates_documents=False,
    knobs=frozenset({"sliding_window", "key_value_heads", "rope_scaling", "logit_softcap"}),
)  # fmt: skip
