"""The stage `tokenizer` where it takes a model's own tokenizer: its files, unchanged, and its fit."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats.pieces import connected
from llm_core.models.loading import load_tokenizer
from llm_core.models.open_models import TOKENIZER
from llm_core.params.launch import PieceLaunch
from llm_core.params.tokenizer import TRAINED, Tokenizer
from llm_core.runtime.storage import output_folder, write_json
from llm_core.tokenization.any_tokenizer import encoder_of
from llm_core.tokenization.compression import announce
from llm_core.tokenization.training import sample
from llm_core.tokenization.training.stage import fit


def take_tokenizer(
    paths: Sequence[str | Path], out: str | Path, params: Tokenizer, seed: int, launch: PieceLaunch = sample.HERE
) -> dict[str, Any]:
    """Write the tokenizer in `params.from` to `out`, and return its metrics on a sample of the documents at `paths`.

    Raises UserError: no fast tokenizer there, no documents, an added token that it has already.
    """
    source = Path(params.from_).expanduser()
    if not any((source / name).is_file() for name in TOKENIZER):
        raise UserError(
            f"tokenizer.from {params.from_}: holds no tokenizer; give data/models/NAME for a model of open_models, a "
            f"folder in the Hugging Face layout, or {TRAINED} to train one"
        )
    tokenizer = load_tokenizer(source)
    if not tokenizer.is_fast:
        raise UserError(f"tokenizer.from {params.from_}: has no fast tokenizer (tokenizer.json)")
    with connected(launch, "tokenizer"), output_folder(out, [source, *paths]) as folder:
        sizes = sample.weigh(paths, launch)
        drawn = sample.shares(sizes, params.sample_bytes, params.weights)
        _write(tokenizer, source, folder, params.add_tokens)
        metrics = fit(encoder_of(folder), folder, paths, drawn, seed, sum(sizes.values()), launch) | {
            "special_tokens": len(tokenizer.all_special_tokens),
            "taken_from": params.from_,
            "sampled_share": drawn,
        }
        write_json(folder / "metrics.json", metrics)
    announce(f"tokenizer of {params.from_}", metrics)
    return metrics


def _write(tokenizer: Any, source: Path, folder: Path, add: Sequence[str]) -> None:
    """The files unchanged, if they alone give the same tokenizer; else as transformers saves it."""
    before = tokenizer.backend_tokenizer.to_str()
    known = tokenizer.get_vocab()
    if doubled := sorted(set(add) & known.keys()):
        raise UserError(f"tokenizer.add_tokens: the tokenizer has {', '.join(doubled)} already")
    for name in TOKENIZER:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if not add and (folder / "tokenizer.json").is_file():
        try:
            if load_tokenizer(folder).backend_tokenizer.to_str() == before:
                return
        except UserError:  # old folders name the tokenizer's class in config.json alone
            pass
    for file in list(folder.iterdir()):
        file.unlink()
    if add:
        tokenizer.add_special_tokens({"extra_special_tokens": list(add)}, replace_extra_special_tokens=False)
        before = tokenizer.backend_tokenizer.to_str()
    tokenizer.save_pretrained(folder)
    if load_tokenizer(folder).backend_tokenizer.to_str() != before:
        raise UserError(f"{source}: its tokenizer changes when it is saved; give a folder with its tokenizer.json")
