"""Local files and folders that params name and no stage makes, and digests of what is in them.

The address of such an input is a param, so a stage notices another address but not other content at the same address:
a file added to a `files` source's folder, a retrained quality model, another parent model. The first stage of dvc.yaml
therefore writes a small JSON file for each section that names inputs, and the stages that read the inputs depend on it.
Digests are of content, so that a copied project is up to date; those of unchanged files (size and time of change) are
remembered in `.scratch`.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llm_core.params.open_models import opened, origin
from llm_core.params.task_files import task_files

if TYPE_CHECKING:
    from llm_core.params import Params
    from llm_core.params.cleaning import Cleaning

MEMORY = Path(".scratch/inputs.json")
REMOTE = "://"
BLOCK = 1 << 22
Content = dict[str, dict[str, str]]  # path -> file below it -> digest


def external_inputs(params: "Params") -> dict[str, list[str]]:
    """Name of the JSON file (`sources/NAME`, `cleaning`, ...) -> the local paths that its section names."""
    found: dict[str, list[str]] = {}
    for name, source in params.sources.items():
        named = [*getattr(source, "paths", []), getattr(source, "address_list", None), getattr(source, "dataset", None)]
        # A dataset's name on a hub is no path; it is one where a folder of that name exists, as in params/sources.py.
        found[f"sources/{name}"] = [
            path for path in named if path and REMOTE not in path and (source.kind != "hub" or Path(path).is_dir())
        ]
    found["cleaning"] = cleaning_inputs(params.cleaning)
    for name, model in params.open_models.items():
        found[f"open_models/{name}"] = [model.from_] if Path(model.from_).is_dir() else []
    found["pretraining"] = _parent(params)
    for name, run in {**params.finetuning.runs, **params.finetuning.on_demand}.items():
        reward = getattr(run, "reward", "")
        found[f"finetuning/{name}"] = [reward] if isinstance(reward, str) and reward and Path(reward).is_dir() else []
    found["benchmarks"] = [
        path for own in params.evaluation.benchmarks.own.values()
        for path in (task_files(Path(own.path)) if own.is_task_file else [own.path])
    ]  # fmt: skip
    judges = [own.judge.model for own in params.evaluation.benchmarks.own.values() if own.judge]
    found["benchmarks"] += dict.fromkeys(_origin(params, judge) for judge in judges)
    encoder = params.retrieval.encoder
    found["retrieval"] = [encoder] if Path(encoder).is_dir() else []
    return {name: [path for path in paths if REMOTE not in path] for name, paths in found.items()}


def cleaning_inputs(cleaning: "Cleaning") -> list[str]:
    """The paths that the section `cleaning` names."""
    return [
        *(listed.path for listed in cleaning.url_lists),
        *cleaning.bad_words.files,
        *([cleaning.quality_model.path] if cleaning.quality_model.path else []),
        *dict.fromkeys(path for rules in cleaning.recipes.values() for rule in rules for path in rule.inputs()),
    ]


def _parent(params: "Params") -> list[str]:
    """What decides a parent's content: its folder; for an open model, which a later stage brings, where it comes from.

    (Its stage runs before pretraining, because an open model is continued with its own tokenizer.)
    """
    parent = params.pretraining.parent
    return [_origin(params, parent)] if parent else []


def _origin(params: "Params", model: str) -> str:
    """A model's folder; of an open model where it comes from."""
    name = opened(params.open_models, model)
    return origin(params.open_models[name]) if name else model


def write_digests(params: "Params", folder: Path, memory: Path = MEMORY) -> None:
    """Write `folder/NAME.json` for each name of `external_inputs`: path -> file below it -> digest of its content."""
    seen: dict[str, list[Any]] = {}
    for name, content in _contents(params, _known(memory), seen).items():
        file = folder / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_text(content), encoding="utf-8")
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps(seen), encoding="utf-8")


class Input(NamedTuple):
    """The files that a section names, compared with the digests that were written of them."""

    changed: list[str]
    """what was added, removed or changed since; [] where nothing was written"""
    text: str
    """the JSON that `write_digests` would write now"""


def compared_inputs(params: "Params", folder: Path, memory: Path = MEMORY) -> dict[str, Input]:
    """Each name of `external_inputs`, compared with `folder/NAME.json`; nothing is written."""
    found: dict[str, Input] = {}
    for name, now in _contents(params, _known(memory), {}).items():
        file, changed = folder / f"{name}.json", []
        before: Content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else now
        for path in sorted(now.keys() | before.keys()):
            old, new = before.get(path, {}), now.get(path, {})
            names = sorted(one for one in old.keys() | new.keys() if old.get(one) != new.get(one))
            changed += [path if one == "." else str(Path(path) / one) for one in names]
        found[name] = Input(changed, _text(now))
    return found


def input_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Each regular file at or below `path`: its name below it ("." for `path` itself), and the file."""
    if path.is_file():
        yield ".", path
        return
    for folder, folders, files in os.walk(path, followlinks=False):
        folders.sort()
        for file in sorted(files):
            inner = Path(folder) / file
            if inner.is_file():
                yield os.fsencode(inner.relative_to(path)).decode("utf-8", "backslashreplace"), inner


def _text(content: Content) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _contents(params: "Params", known: dict[str, list[Any]], seen: dict[str, list[Any]]) -> dict[str, Content]:
    return {
        name: {path: _digests(Path(path).expanduser(), known, seen) for path in paths}
        for name, paths in external_inputs(params).items()
    }


def _digests(path: Path, known: dict[str, list[Any]], seen: dict[str, list[Any]]) -> dict[str, str]:
    """Digest of each regular file at or below `path`; {} where there is nothing (the stage that reads it says so)."""
    return {below: _digest(file, known, seen) for below, file in input_files(path)}


def _digest(file: Path, known: dict[str, list[Any]], seen: dict[str, list[Any]]) -> str:
    stat = file.stat()
    key, stamp = os.fsencode(file.absolute()).decode("utf-8", "backslashreplace"), [stat.st_size, stat.st_mtime_ns]
    row = known.get(key)
    if row is None or row[:2] != stamp:
        digest = hashlib.blake2b(digest_size=16)
        with open(file, "rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
        row = [*stamp, digest.hexdigest()]
    seen[key] = row
    return str(row[2])


def _known(memory: Path) -> dict[str, list[Any]]:
    try:
        rows = json.loads(memory.read_text(encoding="utf-8"))
        return {key: row for key, row in rows.items() if isinstance(row, list) and len(row) == 3}
    except (OSError, ValueError, AttributeError):  # none yet, or cut short by a kill: every file is read again
        return {}
