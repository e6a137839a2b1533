"""The config of a model folder, which is read before any weight is. The module itself imports no torch."""

from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.models.family import register

ADAPTER = "adapter_config.json"  # PEFT's file, in a folder that holds an adapter and not a whole model
SNAPSHOTS = "snapshots"  # folder inside a model's that holds the models of earlier steps of its run


def read_config(folder: str | Path, trust_remote_code: bool = False, **settings: Any) -> Any:
    """The config of a model folder, with `settings` in place of its own. Raises UserError where there is none."""
    from transformers import AutoConfig

    register()
    path = model_folder(folder)
    if not (path / "config.json").is_file():
        if (path / ADAPTER).is_file():
            raise UserError(
                f"{folder}: this folder holds an adapter alone; give the folder above it, which holds the merged model"
            )
        raise UserError(f"{folder}: holds no model (no config.json); give a folder in the Hugging Face layout")
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code, **settings)
    except Exception as error:  # the library raises whatever the broken file makes its parser raise
        raise UserError(f"{folder}: config.json cannot be read ({first_line(error)})") from None


def model_folder(name: str | Path) -> Path:
    """The local folder that `name` means: itself, or a hub's model that was downloaded before. Asks no network."""
    path = Path(name)
    if path.is_dir():
        return path
    if not path.exists() and str(name).count("/") <= 1 and not str(name).startswith(("/", ".", "~")):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(str(name), local_files_only=True))
        except Exception:  # not in the cache, or no name that a hub could have
            pass
    raise UserError(f"{name}: no such model folder (a folder in the Hugging Face layout is needed)")


def first_line(error: BaseException) -> str:
    """The first line of a library's message, at most 300 characters; the error's type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
