"""Which methods a model can be finetuned by, told from its config alone, before any weight is read."""

from pathlib import Path
from typing import Any, Literal

from llm_core.errors import UserError

Kind = Literal["decoder", "encoder", "encoder-decoder"]
ENCODERS = {"bert", "roberta", "distilbert", "electra", "albert", "deberta", "deberta-v2", "modernbert", "xlm-roberta"}
APPLIES: dict[str, tuple[Kind, ...]] = {
    "classification": ("decoder", "encoder", "encoder-decoder"),
    "instruction": ("decoder", "encoder-decoder"),
    "reward": ("decoder", "encoder"),
    "dpo": ("decoder",),
    "rlhf": ("decoder",),
    "contrastive": ("encoder", "decoder"),
}
WHY = {
    "instruction": "an encoder does not generate text",
    "reward": "TRL's reward trainer reads one sequence; an encoder-decoder wants two",
    "dpo": "TRL's DPO needs a decoder's probabilities of an answer after its prompt",
    "contrastive": "a sentence's vector is read from one stack of layers",
    "rlhf": "answers are drawn from a decoder that continues its prompt",
}


def read_config(folder: str | Path) -> Any:
    """The config of a local model folder; UserError where there is none."""
    from transformers import AutoConfig

    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"{folder}: no model there (no config.json); give a folder in the Hugging Face layout")
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: config.json cannot be read ({str(error).splitlines()[0]})") from None


def kind_of(config: Any) -> Kind:
    """Decoder, encoder or encoder-decoder."""
    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    return "encoder" if config.model_type in ENCODERS and not getattr(config, "is_decoder", False) else "decoder"


def check_applies(method: str, folder: str | Path) -> Kind:
    """The model's kind; UserError where `method` cannot train it, saying why."""
    config = read_config(folder)
    kind = kind_of(config)
    if kind not in APPLIES[method]:
        able = ", ".join(name for name, kinds in APPLIES.items() if kind in kinds)
        raise UserError(
            f"{folder}: {method} does not apply to {config.model_type}, an {kind}: {WHY[method]} (it can do: {able})"
        )
    return kind
