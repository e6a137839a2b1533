"""Presets: files that state only how they differ from the project's params.yaml.

A preset begins with `preset: TEXT`, which says what it is for. Its other keys replace those of params.yaml. Sections
are merged key by key; `sources`, and everything else that is a mapping of names a user chose (OPEN), is replaced whole,
so that a preset's sources are the preset's alone. `merge` keeps the comments of both files.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from llm_core.errors import UserError
from llm_core.params.reading import keeping_comments, read_values, to_text

MARK = "preset"
BASE = "params.yaml"
OPEN = {
    "sources",
    "cleaning.recipes",
    "cleaning.repair.characters",
    "split.group_by",
    "scaling.rungs",
}
"""Mappings that a preset replaces whole instead of adding to them."""


def values_of(path: str | Path) -> dict[str, Any]:
    """The raw values of a params file; of a preset, merged over the params.yaml that belongs to it."""
    values = read_values(path)
    if MARK not in values:
        return values
    base = read_values(base_of(path))
    return merged(base, {key: value for key, value in values.items() if key != MARK})


def base_of(preset: str | Path) -> Path:
    """The params.yaml that a preset changes: beside it, or in the folder above (`presets/NAME.yaml`)."""
    folder = Path(preset).absolute().parent
    for place in (folder / BASE, folder.parent / BASE):
        if place.is_file():
            return place
    raise UserError(f"{preset}: a preset changes params.yaml, and there is none in its folder or the one above")


def find(name: str, root: Path = Path("presets")) -> Path:
    """The file of a preset by its name (`web`) or path. Raises UserError that lists what there is."""
    for path in (root / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    names = sorted(file.stem for file in root.glob("*.yaml"))
    raise UserError(f"no preset '{name}' (there are {', '.join(names) or f'none in {root}'})")


def merged(base: dict[str, Any], changes: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`base` with `changes` merged into it: sections key by key, everything else replaced."""
    for key, value in changes.items():
        place = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(base.get(key), dict) and place not in OPEN:
            merged(base[key], value, f"{place}.")
        else:
            base[key] = value
    return base


def merge(preset: str | Path) -> str:
    """The text of the params.yaml that a preset makes, with the comments of both files."""
    yaml = keeping_comments()
    values_of(preset)  # every error of either file in one line, before any comment is read
    base, changes = (yaml.load(Path(file).read_text(encoding="utf-8-sig")) for file in (base_of(preset), preset))
    if not isinstance(base, CommentedMap):
        base = CommentedMap()
    note = f"{Path(preset).stem}: {' '.join(str(changes.pop(MARK)).split())}"
    base.yaml_set_start_comment(f"Made by `llm-core preset`. {note}")
    return to_text(yaml, merged(base, changes))
