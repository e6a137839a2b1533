"""From params to a network with random weights, never downloaded: config, class and initialisation.

What differs from family to family is in `families`, one module each.
"""

from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.models.attention import NAME as BLOCKED
from llm_core.models.family import Vocabulary, families, family, family_of
from llm_core.models.loading import read_network
from llm_core.models.scale import shape
from llm_core.params.model import Model, Speedrun

LONGEST_BLOCKED = 4096  # tokens up to which keeping the probabilities is affordable


def build_config(model: Model, vocabulary: Vocabulary, sequence_length: int) -> Any:
    """The transformers config of the model. Raises UserError for what the family does not have."""
    sizes, positions = shape(model), model.positions or sequence_length
    if positions < sequence_length:
        raise UserError(f"model.positions {positions} is shorter than pretraining.sequence_length {sequence_length}")
    described = family(model.family)
    for knob, given in (  # the knobs that only some families have
        ("sliding_window", model.sliding_window is not None),
        ("key_value_heads", sizes.key_value_heads != sizes.heads),
        ("rope_scaling", model.rope_scaling.rope_type != "default"),
        ("logit_softcap", model.logit_softcap is not None),
        ("speedrun", model.speedrun != Speedrun()),
    ):
        if given and knob not in described.knobs:
            having = ", ".join(name for name, one in families().items() if knob in one.knobs)
            raise UserError(f"model.{knob}: {model.family} has none (only {having})")
    common = {
        "vocab_size": vocabulary.size,
        "bos_token_id": vocabulary.bos,
        "eos_token_id": vocabulary.eos,
        "pad_token_id": vocabulary.pad,
        "tie_word_embeddings": model.tie_embeddings,
    }
    return described.config(model, sizes, positions, common)


def build_network(config: Any, attention: str, seed: int) -> Any:
    """The network with random weights drawn from `seed`, in fp32."""
    cls = network_class(config)
    attention = choose_attention(attention, cls, getattr(config, "max_position_embeddings", LONGEST_BLOCKED))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls._from_config(config, attn_implementation=attention, dtype=torch.float32)


def load_parent(folder: str, config: Any, attention: str, sequence_length: int) -> Any:
    """The network of a model folder with the head of its objective, in fp32, as training continues it.

    Raises UserError where it cannot be loaded, or its checkpoint lacks weights.
    """
    cls = network_class(config)
    known = any(config.model_type in one.model_types for one in families().values())
    capped = getattr(config.get_text_config(decoder=True), "attn_logit_softcapping", None)
    if attention == "auto" and (capped or not known):  # transformers' own choice; eager attention alone caps scores
        attention = "eager" if capped else ""
    else:
        attention = choose_attention(attention, cls, sequence_length)
    options: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    return read_network(cls, folder, config, "float32", **options)


def choose_attention(asked: str, cls: Any, length: int) -> str:
    """The attention kernel for a network of `cls` and sequences of `length` tokens."""
    if asked == "auto":
        asked = BLOCKED if length <= LONGEST_BLOCKED and not torch.cuda.is_available() else "sdpa"
    if asked in ("sdpa", BLOCKED) and not getattr(cls, "_supports_sdpa", False):
        return "eager"
    return asked


def network_class(config: Any) -> Any:
    """The class with the head of the family's objective."""
    return family_of(config).network(config)
