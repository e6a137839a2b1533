"""Checks at the start of a run that its tokens, its tokenizer and its parent model belong together.

Ids have no meaning without the tokenizer that made them. Shards have the digest of their tokenizer, and a model's
folder has its own; a run with another one would train for hours on wrong text. A parent's architecture is the run's,
so the section `model` must agree with it.
"""

import json
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.params.model import Model
from llm_core.runtime.digests import file_digest

PARTS = ("model", "normalizer", "pre_tokenizer")  # parts of tokenizer.json that decide a text's ids
SHAPE = {  # knob of `model` -> its names in transformers' configs; the first one present counts
    "layers": ("num_hidden_layers",),
    "width": ("hidden_size",),
    "heads": ("num_attention_heads",),
    "key_value_heads": ("num_key_value_heads", "num_attention_heads"),
    "feed_forward": ("intermediate_size", "n_inner", "ffn_dim", "d_ff"),
    "tie_embeddings": ("tie_word_embeddings",),
    "positions": ("max_position_embeddings",),
    "sliding_window": ("sliding_window",),
}
DROPOUT = (
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "hidden_dropout", "dropout", "dropout_rate",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "embedding_dropout", "mlp_dropout",
)  # fmt: skip


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


def parent_config(parent: Path, model: Model, sequence_length: int, extends: bool = False) -> Any:
    """The parent's config, which is the architecture of a continued training, with `model.dropout` where it is given.

    A training that `extends` the context gets positions for `sequence_length` where the parent has fewer.

    Raises UserError: no model there, a classifier or another model whose head would be lost, or `model` in the params
    contradicts it; both values are named.
    """
    from llm_core.models.family import family, kind_of
    from llm_core.models.loading import check_purpose, context_of, read_config
    from llm_core.models.rotary import rope_of

    if not (parent / "config.json").is_file():
        raise UserError(f"pretraining.parent {parent}: holds no model (no config.json)")
    found = read_config(parent)
    if kind_of(found) != "encoder":  # a masked model's head has weights of its own, which an encoder's classifier lacks
        check_purpose(parent, found, "language")
    given, text = model.model_fields_set, found.get_text_config(decoder=True)
    wrong = []
    if "family" in given and found.model_type not in family(model.family).model_types:
        wrong.append(f"model.family is {model.family}, the parent is a {found.model_type}")
    asked = {knob: getattr(model, knob) for knob in SHAPE if knob in given and getattr(model, knob) is not None}
    if "scale" in given and not {"layers", "width"} & asked.keys():
        asked["layers"] = model.scale
    for knob, ours in asked.items():
        theirs = next((value for name in SHAPE[knob] if (value := getattr(text, name, None)) is not None), None)
        if knob == "feed_forward" and theirs is None:
            continue  # GPT-2 derives it from its width
        if ours != theirs:
            wrong.append(f"model.{knob} is {ours}, the parent's {theirs}")
    for switch in sorted(model.speedrun.model_fields_set - {"window_pattern"}):
        ours, theirs = getattr(model.speedrun, switch), getattr(text, switch, None)
        if ours != theirs:
            wrong.append(f"model.speedrun.{switch} is {ours}, the parent's {theirs}")
    wrong += _rotary(model, text)
    if wrong:
        raise UserError(
            f"pretraining.parent {parent}: {'; '.join(wrong)}; a continued training has the parent's architecture, so "
            "leave these knobs of `model` out"
        )
    positions = context_of(found)
    if positions and positions < sequence_length and extends and rope_of(found) is not None:
        text.max_position_embeddings = sequence_length
    elif positions and positions < sequence_length:
        raise UserError(f"pretraining.sequence_length {sequence_length}: {parent} has {positions} positions")
    if "dropout" in given:
        for name in DROPOUT:
            if hasattr(text, name):
                setattr(text, name, model.dropout)
    return found


def _rotary(model: Model, config: Any) -> list[str]:
    """Where the params and the parent's config differ about rotary positions."""
    rotary = getattr(config, "rope_parameters", None) or {}
    theirs = rotary if "rope_type" in rotary else next((one for one in rotary.values() if isinstance(one, dict)), {})
    wrong = []
    if "rope_theta" in model.model_fields_set and model.rope_theta != theirs.get("rope_theta"):
        wrong.append(f"model.rope_theta is {model.rope_theta:g}, the parent's {theirs.get('rope_theta')}")
    kind = model.rope_scaling.rope_type
    if "rope_scaling" in model.model_fields_set and kind != theirs.get("rope_type", "default"):
        wrong.append(f"model.rope_scaling.rope_type is {kind}, the parent's {theirs.get('rope_type', 'default')}")
    return wrong


def check_parent_tokenizer(parent: Path, tokenizer: Path, grow: bool = False) -> None:
    """Raise UserError where the parent was trained with another tokenizer.

    Where the vocabulary may `grow`, the tokenizer may have more special tokens than the parent's, after its ids.
    """
    from llm_core.models.loading import load_tokenizer

    theirs, ours = (json.loads(load_tokenizer(folder).backend_tokenizer.to_str()) for folder in (parent, tokenizer))
    different = [part for part in PARTS if _plain(theirs.get(part)) != _plain(ours.get(part))]
    known = {(token["id"], token["content"]) for token in theirs["added_tokens"]}
    new = [token for token in ours["added_tokens"] if (token["id"], token["content"]) not in known]
    first = max([*theirs["model"]["vocab"].values(), -1]) if isinstance(theirs["model"]["vocab"], dict) else -1
    first = max([first, len(theirs["model"]["vocab"]) - 1, *(number for number, _ in known)]) + 1
    added = [token["content"] for token in new if token["id"] >= first]
    if added and len(added) == len(new) and not different:
        if grow:
            return
        raise UserError(
            f"{tokenizer}: has tokens that {parent} has not ({', '.join(added[:3])}); "
            "set pretraining.grow_vocabulary: true to give them embeddings"
        )
    if different or new:
        what = ", ".join([*different, *(f"token {token['content']}" for token in new[:3])])
        raise UserError(
            f"pretraining.parent {parent} was trained with another tokenizer than {tokenizer} "
            f"(they differ in: {what}); set tokenizer.from: {parent}, so that the tokens are encoded with its own"
        )


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
