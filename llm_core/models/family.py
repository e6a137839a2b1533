"""What a model family is: one module that describes itself, in the package `families` or behind an entry point.

A family says how its config is built from the params, which class its network has, what it is trained to predict, and
what the rest of the pipeline must know of it. Everything else asks the family; nothing else asks for its name. The
modules of families import torch and transformers inside their functions only, so that checking params stays cheap.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from llm_core.errors import UserError
from llm_core.params import model as params

if TYPE_CHECKING:
    from llm_core.models.scale import Shape

Objective = Literal["causal", "masked", "span"]
Kind = Literal["decoder", "encoder", "encoder-decoder"]
KINDS: dict[Objective, Kind] = {"causal": "decoder", "masked": "encoder", "span": "encoder-decoder"}
MASK_TOKEN = "<|mask|>"
SENTINELS = 100  # T5's number of span markers
# Encoders of transformers that can be loaded and finetuned beside those of the families.
ENCODERS = {"bert", "roberta", "distilbert", "electra", "albert", "deberta", "deberta-v2", "modernbert", "xlm-roberta"}


@dataclass(frozen=True)
class Vocabulary:
    """Size of the vocabulary and the ids that configs name."""

    size: int
    bos: int | None
    eos: int | None
    pad: int | None

    @property
    def filler(self) -> int:
        """The id for unused slots of a row, which are masked and never predicted, so that any id will do."""
        return next((one for one in (self.pad, self.eos) if one is not None), 0)


def _base_model(network: Any, inputs: dict[str, Any]) -> Any:
    return network.base_model(**inputs, use_cache=False).last_hidden_state


def _mapped_class(config: Any) -> Any:
    import transformers

    return _class(transformers.AutoModelForCausalLM, config)


def masked_class(config: Any) -> Any:
    """The class of transformers with the head that predicts masked tokens."""
    import transformers

    return _class(transformers.AutoModelForMaskedLM, config)


def _sequence_class(config: Any) -> Any:
    import transformers

    return _class(transformers.AutoModelForSeq2SeqLM, config)


def _class(auto: Any, config: Any) -> Any:
    try:
        return auto._model_mapping[type(config)]
    except KeyError:
        raise UserError(f"transformers has no {auto.__name__} of '{config.model_type}'") from None


@dataclass(frozen=True)
class Family:
    """One family of networks."""

    config: "Callable[[params.Model, Shape, int, dict[str, Any]], Any]"
    """(params, shape, positions, what all configs name alike) -> the config, a transformers `PreTrainedConfig`."""
    model_types: tuple[str, ...]
    """`model_type` of the configs that `config` builds, by which a saved model is recognised."""
    objective: Objective = "causal"
    """What it is trained to predict: the next token, masked tokens, or corrupted spans (pretraining/objectives.py)."""
    network: Callable[[Any], Any] = _mapped_class
    """Config -> class of the network with the objective's head; by default what transformers has for a causal one."""
    hidden_states: Callable[[Any, dict[str, Any]], Any] = _base_model
    """(network, inputs) -> what the head reads, [B, T, D], or [B, S, D] of a decoder.

    The inputs are tensors: `input_ids` [B, T]; `attention_mask` [B, T] where the objective is masked or span, and
    [B, 1, T, T] with `position_ids` [B, T] where documents of a row are kept apart; `decoder_ids` [B, S] for span.
    """
    gated: bool = False
    """Whether the feed-forward layer is gated, which decides its derived width."""
    knobs: frozenset[str] = field(default_factory=frozenset)
    """Which of the knobs of `model` that only some families have it reads:
    sliding_window, key_value_heads, rope_scaling, logit_softcap, speedrun."""
    separates_documents: bool = True
    """Whether it takes a mask that keeps the documents of a row apart (pretraining.document_mask)."""
    narrows_masks: bool = False
    """Whether its layers with a window narrow such a mask themselves, because others see all of it."""
    attends: bool = True
    """Whether it has attention, which adds to its operations per token."""
    register: Callable[[], None] = lambda: None
    """Makes its classes known to transformers before a saved model is loaded."""
    training_inputs: Callable[[Any, Any, list[Any]], Any] | None = None
    """(settings, rows, a random generator for each row) -> inputs and targets of the network, for an objective of its
    own; None takes the rule of `objective`, which also says what the network is. The arguments and the result are the
    classes `Corruption`, `Batch` and `Inputs` of pretraining/objectives.py; held-out loss of a causal network is
    that of the next token in any case."""
    own_tokens: tuple[str, ...] = ()
    """Special tokens of `training_inputs`; their ids are the last of the settings' `marks`."""

    @property
    def kind(self) -> Kind:
        """Decoder, encoder or encoder-decoder."""
        return KINDS[self.objective]

    @property
    def extra_tokens(self) -> list[str]:
        """Special tokens that the objective needs beside the tokenizer's own."""
        if self.objective == "masked":
            return [MASK_TOKEN, *self.own_tokens]
        sentinels = [f"<extra_id_{number}>" for number in range(SENTINELS)] if self.objective == "span" else []
        return [*sentinels, *self.own_tokens]


def families() -> dict[str, Family]:
    """Name -> family, the built-in ones first. Raises UserError for a plugin that describes none."""
    found = params.families()
    for name, one in found.items():
        if not isinstance(one, Family):
            raise UserError(f"model family '{name}': its module must define FAMILY, a llm_core.models.family.Family")
    return found


def family(name: str) -> Family:
    """The family `name`. Raises UserError that lists the families where there is none."""
    if name not in (known := families()):
        raise UserError(f"no model family '{name}' (there are {', '.join(known)})")
    return known[name]


def family_of(config: Any) -> Family:
    """The family of a network's config; for one that no family builds, transformers' class for its kind."""
    for one in families().values():
        if config.model_type in one.model_types:
            return one
    if getattr(config, "is_encoder_decoder", False):
        return Family(_unknown, (config.model_type,), "span", _sequence_class, separates_documents=False)
    if config.model_type in ENCODERS and not getattr(config, "is_decoder", False):
        return Family(_unknown, (config.model_type,), "masked", masked_class)
    return Family(_unknown, (config.model_type,))


def kind_of(config: Any) -> Kind:
    """Decoder, encoder or encoder-decoder."""
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    encoder = config.model_type in ENCODERS or family_of(config).kind == "encoder"
    return "encoder" if encoder and not getattr(config, "is_decoder", False) else "decoder"


def register() -> None:
    """Make the classes of every family known to transformers."""
    for one in families().values():
        one.register()


def _unknown(model: params.Model, sizes: "Shape", positions: int, common: dict[str, Any]) -> Any:
    raise UserError("a network of an unknown family cannot be built from params")
