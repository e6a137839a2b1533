"""Whether a model is a decoder, an encoder or both, from its config alone, before any weight is read."""

from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.training.finetuning.method import Kind

ENCODERS = {"bert", "roberta", "distilbert", "electra", "albert", "deberta", "deberta-v2", "modernbert", "xlm-roberta"}


def read_config(folder: str | Path) -> Any:
    """The config of a local model folder; UserError where there is none."""
    from transformers import AutoConfig

    if not (Path(folder) / "config.json").is_file():
        if (Path(folder) / "adapter_config.json").is_file():
            raise UserError(f"{folder}: holds an adapter alone; give the folder above it, which holds the merged model")
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
