"""The stage `open-model`: a model that others published, as a folder of this project that can be trusted and traced.

A local folder is copied, a hub model is downloaded at one commit. Taken are config, weights, tokenizer, model card and
licence. Weights are safetensors alone: a pickle runs code when it is loaded. A folder's Python files are never taken;
an architecture that transformers itself does not have is refused. `open_model.json` records origin, commit, licence,
architecture and number of parameters.

Files are copied, not hard-linked: DVC would put the user's own file into its cache and make it read-only.
"""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.models import loading
from llm_core.models.family import register
from llm_core.params.open_models import OpenModel
from llm_core.runtime.progress import log, report
from llm_core.runtime.storage import output_folder, write_json

RECORD = "open_model.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip
ABOUT = ("README*", "LICEN[CS]E*", "NOTICE*", "COPYING*", "USE_POLICY*", "*.md")
TAKEN = ("config.json", "generation_config.json", *WEIGHTS, *TOKENIZER, *ABOUT)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")
NOT_WEIGHTS = ("training_args.bin", "optimizer.*", "scheduler.*", "rng_state*")


def fetch_model(name: str, params: OpenModel, out: Path) -> dict[str, Any]:
    """Put the open model `name` into `out`; the record that is written beside it.

    Raises UserError: nothing at that place, no pinned commit, pickled weights, an architecture that transformers does
    not have, a broken file, no fast tokenizer.
    """
    source, commit = source_of(name, params)
    check_folder(source, params.from_)
    files = sorted(file for file in source.iterdir() if file.is_file() and _is(file.name, TAKEN))
    with output_folder(out, [source]) as folder:
        for file in files:
            shutil.copyfile(file, folder / file.name)  # follows the links of the hub's cache
        record = describe(folder) | {"from": params.from_, "revision": commit, "files": [file.name for file in files]}
        write_json(folder / RECORD, record)
    log(
        f"{name}: {record['architecture']} of {record['parameters']:,} parameters from {params.from_}"
        f"{f' at {commit}' if commit else ''}, licence: {record['license']}"
    )
    report({"open_model": record})
    return record


def check_folder(folder: Path, name: str) -> None:
    """Raise UserError where `folder` holds no model, or one that must not or cannot be loaded. `name` is shown."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{name}: holds no model (no config.json); give a folder in the Hugging Face layout")
    names = [file.name for file in folder.iterdir()]
    if not any(_is(one, ("*.safetensors",)) for one in names):
        pickles = sorted(one for one in names if _is(one, PICKLES) and not _is(one, NOT_WEIGHTS))
        if not pickles:
            raise UserError(f"{name}: holds no weights (no *.safetensors)")
        raise UserError(
            f"{name}: its weights are pickled ({', '.join(pickles[:3])}), which may run code when they are loaded; "
            'where you trust them, convert them once: python -c "import transformers as t; '
            "t.AutoModelForCausalLM.from_pretrained('FOLDER', use_safetensors=False).save_pretrained('NEW', "
            'safe_serialization=True)", and take NEW'
        )
    register()
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{name}: config.json cannot be read ({error})") from None
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in CONFIG_MAPPING:
        own = ", and its own code is never run here" if config.get("auto_map") else ""
        raise UserError(f"{name}: transformers has no architecture '{kind}'{own}; take a model of another architecture")


def describe(folder: Path) -> dict[str, Any]:
    """Architecture, sizes and licence of a model folder. Raises UserError for a broken file."""
    from safetensors import safe_open

    config = loading.read_config(folder)
    size = 0
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as stored:
                shapes = [stored.get_slice(key).get_shape() for key in stored.keys()]  # noqa: SIM118 - no mapping
        except Exception as error:  # SafetensorError: a truncated or broken file
            raise UserError(f"{file.name}: cannot be read ({error}); download it again") from None
        for shape in shapes:
            count = 1
            for length in shape:
                count *= length
            size += count
    _check_index(folder)
    tokenizer = loading.load_tokenizer(folder)
    if not tokenizer.is_fast:
        raise UserError(f"{folder}: has no fast tokenizer (tokenizer.json), and transformers cannot convert its own")
    return {
        "architecture": (config.architectures or [config.model_type])[0],
        "model_type": config.model_type,
        "parameters": size,
        "positions": loading.context_of(config),
        "vocabulary": config.get_text_config().vocab_size,
        "tokens": len(tokenizer),
        "chat_template": bool(tokenizer.chat_template),
        "license": license_of(folder),
    }


def license_of(folder: Path) -> str:
    """The licence that the model card names, else the name of a licence file, else `not stated`."""
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines() if card.is_file() else []
    if lines[:1] == ["---"]:
        for line in lines[1:]:
            if line.strip() == "---":
                break
            key, _, value = line.partition(":")
            if key.strip() in ("license", "license_name") and value.strip() not in ("", "other"):
                return value.strip().strip("\"'")
    files = sorted(file.name for file in folder.iterdir() if _is(file.name, ("LICEN[CS]E*", "COPYING*")))
    return files[0] if files else "not stated"


def _check_index(folder: Path) -> None:
    for index in folder.glob("*.safetensors.index.json"):
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if missing := sorted(one for one in named if not (folder / one).is_file()):
            raise UserError(f"{index.name} names {', '.join(missing[:3])}, which is not there; the copy is incomplete")


def source_of(name: str, params: OpenModel) -> tuple[Path, str | None]:
    """The folder that holds an open model, and the commit of a hub's model. Raises UserError where there is none."""
    place = Path(params.from_).expanduser()
    if place.is_dir():
        if params.revision:
            raise UserError(f"open_models.{name}: revision is for a model of the hub; {params.from_} is a local folder")
        return place, None
    if place.exists() or params.from_.count("/") > 1 or params.from_.startswith(("/", ".", "~")):
        raise UserError(f"open_models.{name}.from: no such folder {params.from_}")
    if params.revision is None:
        raise UserError(
            f"open_models.{name}: pin `revision` to a commit of {params.from_}, because a branch changes"
            f"{_newest(params.from_)}; a local folder needs no revision, and there is none of that name here"
        )
    return _snapshot(params.from_, params.revision), params.revision


def _newest(name: str) -> str:
    """`; the present commit is …`, where the hub answers."""
    from huggingface_hub import HfApi

    try:
        return f" (revision: {HfApi().model_info(name, timeout=10).sha} is the present one)"
    except Exception as error:  # no network, no such model, access denied: the message does without
        return f" (the hub does not tell the present one: {type(error).__name__})"


def _snapshot(name: str, commit: str) -> Path:
    """The hub's files of one commit, in the hub's cache."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        listed = HfApi().list_repo_files(name, revision=commit)
        wanted = [one for one in listed if "/" not in one and _is(one, TAKEN)]
        pickles = [one for one in listed if _is(one, PICKLES) and not _is(one, NOT_WEIGHTS)]
        if pickles and not any(one.endswith(".safetensors") for one in wanted):
            raise UserError(
                f"{name}: this commit has its weights as pickles alone ({', '.join(pickles[:3])}), which may run code "
                "when they are loaded; choose a commit with *.safetensors (the hub's converter proposes one under "
                "Community), or convert it in a place that you trust and take the folder"
            )
        return Path(snapshot_download(name, revision=commit, allow_patterns=wanted))
    except UserError:
        raise
    except Exception as error:  # the hub's errors, those of its client, a full disk
        try:
            return Path(snapshot_download(name, revision=commit, local_files_only=True))
        except Exception:
            raise UserError(f"{name} at {commit[:8]}: cannot be fetched ({_line(error)})") from None


def _is(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
