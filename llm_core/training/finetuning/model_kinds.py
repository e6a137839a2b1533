"""The config of a model folder that is finetuned, before any weight is read."""

from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.models.family import register


def read_config(folder: str | Path) -> Any:
    """The config of a local model folder; UserError where there is none."""
    from transformers import AutoConfig

    register()
    if not (Path(folder) / "config.json").is_file():
        if (Path(folder) / "adapter_config.json").is_file():
            raise UserError(
                f"{folder}: this folder holds an adapter alone; give the folder above it, which holds the merged model"
            )
        raise UserError(f"{folder}: no model there (no config.json); give a folder in the Hugging Face layout")
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: config.json cannot be read ({str(error).splitlines()[0]})") from None
