"""Where a run starts: that its tokens, its tokenizer and its parent model belong together.

Ids mean nothing without the tokenizer that made them. Shards carry the digest of theirs, and a model's folder its own
tokenizer; a run on any other would train for hours on words that nobody wrote.
"""

import json
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.params.model import Model
from llm_core.runtime.digests import file_digest
from llm_core.runtime.storage import read_json

PARTS = ("model", "normalizer", "pre_tokenizer")  # of tokenizer.json: what decides a text's ids
SHAPE = {  # knob of `model` -> name that every transformers config answers to
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "feed_forward": "intermediate_size",
    "tie_embeddings": "tie_word_embeddings",
}


def check_tokens(shards: TokenShards, tokenizer: Path) -> None:
    """Raise UserError where the shards were encoded with another tokenizer, or do not say with which."""
    digest = file_digest(tokenizer / "tokenizer.json")
    if not shards.tokenizer:
        raise UserError(
            f"{shards.folder}: the shards do not say which tokenizer encoded them (metadata `tokenizer`), so their ids "
            f"may mean other words; run `llm-core tokenize --tokenizer {tokenizer}`"
        )
    if shards.tokenizer != digest:
        raise UserError(
            f"{shards.folder}: encoded with another tokenizer ({shards.tokenizer[:8]}) than {tokenizer} "
            f"({digest[:8]}); "
            f"run `llm-core tokenize --tokenizer {tokenizer}`, or give the tokenizer that the tokens were encoded with"
        )


def parent_config(parent: Path, config: Any, model: Model, sequence_length: int) -> Any:
    """The parent's config, which is the architecture of a continued training.

    Raises UserError: no model there, or `model` in the params contradicts it; both values are named.
    """
    from transformers import AutoConfig

    if not (parent / "config.json").is_file():
        raise UserError(f"pretraining.parent {parent}: holds no model (no config.json)")
    found = AutoConfig.from_pretrained(parent)
    if found.model_type != config.model_type:
        raise UserError(
            f"pretraining.parent {parent} is a {found.model_type}, model.family is {model.family} "
            f"({config.model_type}); set model.family to the parent's"
        )
    given = [knob for knob in SHAPE if knob in model.model_fields_set and getattr(model, knob) is not None]
    pairs = [(knob, getattr(config, SHAPE[knob], None), getattr(found, SHAPE[knob], None)) for knob in given]
    wrong = [f"model.{knob} is {ours}, the parent's {theirs}" for knob, ours, theirs in pairs if ours != theirs]
    if wrong:
        raise UserError(f"pretraining.parent {parent}: {'; '.join(wrong)}; set them as the parent's, or leave them out")
    positions = getattr(found, "max_position_embeddings", None)
    if positions and positions < sequence_length:
        raise UserError(f"pretraining.sequence_length {sequence_length}: {parent} has {positions} positions")
    return found


def check_parent_tokenizer(parent: Path, tokenizer: Path) -> None:
    """Raise UserError where the parent was trained with another tokenizer; special tokens may be added to it."""
    theirs, ours = (read_json(folder / "tokenizer.json") for folder in (parent, tokenizer))
    different = [part for part in PARTS if _plain(theirs.get(part)) != _plain(ours.get(part))]
    known = {(token["id"], token["content"]) for token in theirs.get("added_tokens", [])}
    missing = [
        token["content"] for token in ours.get("added_tokens", []) if (token["id"], token["content"]) not in known
    ]
    if different or missing:
        what = ", ".join([*different, *(f"token {name}" for name in missing[:3])])
        raise UserError(
            f"pretraining.parent {parent} was trained with another tokenizer than {tokenizer} "
            f"(they differ in: {what}); give --tokenizer {parent} and tokens encoded with it"
        )


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
