"""Things that can be added from outside: one module each, found in a package of ours or through an entry point.

A kind of thing (a finetuning method, for example) has a package whose modules each define one attribute of a fixed
name, and a group of entry points for modules of other distributions. Nothing lists the modules: a file in the package,
or a line in another distribution's `[project.entry-points."GROUP"]`, is enough.

The names are given as text, so that this low room imports the upper ones only when somebody asks for what they hold.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from llm_core.errors import UserError


@cache
def discover(package: str, attribute: str, group: str) -> dict[str, Any]:
    """Name -> `attribute` of each module of `package`, then what the entry points of `group` load, each sorted by name.

    The name of a built-in thing is its module's, that of a plugin its entry point's. Modules whose name begins with an
    underscore are skipped. Raises UserError where a plugin cannot be loaded, or takes a name that is in use.
    """
    folder = importlib.import_module(package).__path__
    names = [module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_")]
    found = {name: getattr(importlib.import_module(f"{package}.{name}"), attribute) for name in sorted(names)}
    return found | plugins(attribute, group, found)


def plugins(attribute: str, group: str, taken: Iterable[str]) -> dict[str, Any]:
    """Name -> what the entry points of `group` load (its `attribute`, where it is a module), sorted by name.

    Raises UserError where a plugin cannot be loaded, or has a name in `taken`.
    """
    names = set(taken)
    found: dict[str, Any] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        if point.name in names or point.name in found:
            raise UserError(f"plugin {point.value}: {group} has '{point.name}' already; give the plugin another name")
        try:
            loaded = point.load()
        except Exception as error:  # whatever a stranger's module raises
            said = (str(error).splitlines() or [""])[0]
            raise UserError(
                f"plugin '{point.name}' ({point.value}) of {group} cannot be loaded: {type(error).__name__}: {said}"
            ) from error
        found[point.name] = getattr(loaded, attribute, loaded)
    return found
