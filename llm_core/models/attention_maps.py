"""How strongly each token of a text attends to each other one, by layer and head, for any model with attention.

The weights are those that transformers gives with its plain implementation (`eager`): after the softmax, so that each
row sums to 1. They show where a head takes its values from; they do not explain an answer (Jain and Wallace 2019,
arXiv:1902.10186).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_core.errors import UserError
from llm_core.models.family import family_of, kind_of
from llm_core.models.generation import Decoding, generate
from llm_core.models.loading import LoadedModel, load, read_config
from llm_core.models.prompts import encode_prompt, encode_text

FIELDS = {
    "attentions": "The text on itself",
    "encoder_attentions": "Encoder: the text on itself",
    "decoder_attentions": "Decoder: the target on itself",
    "cross_attentions": "Decoder: the target on the text",
}
"""field of transformers' output -> what attends to what"""


@dataclass(frozen=True)
class AttentionMaps:
    """All heads of one kind of attention."""

    name: str
    """What attends to what."""
    queries: list[str]
    """Tokens that attend, the rows of each map."""
    keys: list[str]
    """Tokens that are attended to, the columns of each map."""
    layers: dict[int, np.ndarray]
    """number of the layer, from 1 -> float32 [heads, queries, keys]"""
    on_itself: bool
    """Whether rows and columns are the same tokens."""


@dataclass(frozen=True)
class Inspected:
    """The maps of a text, and what of it was left out."""

    maps: list[AttentionMaps]
    cut: int
    """How many tokens of text and target were left out."""
    written: str | None
    """The target that an encoder-decoder wrote itself; None where it was given, or there is none."""


def attention_maps(
    folder: Path, text: str, target: str | None = None, tokens: int = 64, device: str | None = None
) -> Inspected:
    """The maps of the first `tokens` tokens of `text`, read as the model reads it in use.

    An encoder-decoder also reads the beginning of `target` in its decoder; without one it writes it itself. Raises
    UserError: no model with attention, a target for a model that reads one text, an empty text.
    """
    config = read_config(folder)
    kind = kind_of(config)
    if not family_of(config).attends:
        raise UserError(f"{folder}: a {config.model_type} has no attention")
    if target is not None and kind != "encoder-decoder":
        raise UserError(f"{folder}: holds a model that reads one text ({kind}); leave out the target")
    writes = kind == "encoder-decoder" and target is None
    model = load(folder, "language" if writes else "encoder", device=device)
    limit = min(tokens, model.context or tokens)
    if kind == "encoder":
        read = encode_text(model.tokenizer, text, special=True)
    else:
        read = encode_prompt(model.tokenizer, text, kind)
    shown = _cut(read, limit, closed=kind != "decoder")
    inputs = {"input_ids": shown}
    cut, written = len(read) - len(shown), None
    if kind == "encoder-decoder":
        if target is None:
            made = generate(model, [shown], Decoding(limit - 1))[0]
            ids, written = made.ids, made.text
        else:
            ids = encode_text(model.tokenizer, target)
        cut += max(0, len(ids) - (limit - 1))
        inputs["decoder_input_ids"] = [_start(model), *ids[: limit - 1]]
    return Inspected(_maps(folder, model, inputs), cut, written)


def _cut(ids: list[int], limit: int, closed: bool) -> list[int]:
    """The first `limit` ids; where the model knows a text's end by its last token, that token is kept."""
    if len(ids) <= limit:
        return ids
    return [*ids[: limit - 1], ids[-1]] if closed else ids[:limit]


def _start(model: LoadedModel) -> int:
    """The token with which the decoder of an encoder-decoder begins."""
    config = model.network.config
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        if (found := getattr(config, name, None)) is not None:
            return int(found)
    raise UserError("the model's config names no token with which its decoder begins (decoder_start_token_id)")


def _maps(folder: Path, model: LoadedModel, inputs: dict[str, list[int]]) -> list[AttentionMaps]:
    try:
        model.network.set_attn_implementation("eager")
        with torch.no_grad():
            outputs = model.network(
                **{name: torch.tensor([ids], device=model.device) for name, ids in inputs.items()},
                output_attentions=True, use_cache=False,
            )  # fmt: skip
    except (TypeError, ValueError, NotImplementedError) as error:  # a network that cannot give them
        raise UserError(
            f"{folder}: transformers gives no attentions of a {model.network.config.model_type} ({error})"
        ) from None
    text = _names(model.tokenizer, inputs["input_ids"])
    target = _names(model.tokenizer, inputs.get("decoder_input_ids", []))
    found = []
    for field, name in FIELDS.items():
        layers = {
            number: weights[0].float().cpu().numpy()
            for number, weights in enumerate(getattr(outputs, field, None) or (), 1)
            if weights is not None  # a layer of another kind, such as a recurrent one
        }
        if layers:
            queries = target if field in ("decoder_attentions", "cross_attentions") else text
            keys = target if field == "decoder_attentions" else text
            found.append(AttentionMaps(name, queries, keys, layers, field != "cross_attentions"))
    if not found:
        raise UserError(f"{folder}: transformers gives no attentions of a {model.network.config.model_type}")
    return found


def _names(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Each token as text; a blank one by its escapes or the sign for a space."""
    texts = [str(tokenizer.decode([one], clean_up_tokenization_spaces=False)) for one in ids]
    return [text.strip() or (repr(text)[1:-1].replace(" ", "␣") or "∅") for text in texts]
