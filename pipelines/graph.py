"""The graph of the stages: what each dvc.yaml declares, joined through the paths of their files.

The default graph is the dvc.yaml at the top; each dvc.yaml below `experiments/` adds stages that run on demand. A stage
is named as `dvc repro` takes it: `clean@factbook`, `experiments/retrieval/dvc.yaml:index`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

DVC_FILE = "dvc.yaml"
EXPERIMENTS = "experiments"


@dataclass(frozen=True)
class Output:
    """One output of a stage; `kind` is outs, metrics or plots."""

    path: str
    kind: str
    cache: bool


@dataclass(frozen=True)
class Stage:
    """One stage of a dvc.yaml, templates resolved; paths are relative to the project, in POSIX form."""

    name: str
    cmd: str
    file: str = DVC_FILE
    desc: str = ""
    deps: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    outs: tuple[Output, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def plain_name(self) -> str:
        """Name in its own dvc.yaml: `index` of `experiments/retrieval/dvc.yaml:index`."""
        return self.name.removeprefix(f"{self.file}:")

    @property
    def group(self) -> str:
        """Plain name before the `@` of a foreach or matrix stage, else the whole plain name."""
        return self.plain_name.partition("@")[0]

    @property
    def experiment(self) -> str:
        """Folder below `experiments/` of the stage's dvc.yaml (`retrieval`); "" in the default graph."""
        return "" if self.file == DVC_FILE else Path(self.file).parent.relative_to(EXPERIMENTS).as_posix()

    @property
    def folder(self) -> str:
        """The folder that holds the stage's outputs (`metrics.json` and all)."""
        if len(self.outs) == 1 and Path(self.outs[0].path).name != "documents":
            return self.outs[0].path
        return os.path.commonpath([str(Path(out.path).parent) for out in self.outs]) if self.outs else "."

    @property
    def key(self) -> tuple[str, ...]:
        """Path of the asset's key: `clean@factbook` is `clean_factbook`, an experiment's `index` `retrieval/index`.

        Dagster's graph shows only a path's last part, with the asset's group beside it.
        """
        return (*filter(None, self.experiment.split("/")), identifier(self.plain_name))


def identifier(name: str) -> str:
    """A name that Dagster accepts for assets, groups and ops."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def overlap(first: str, second: str) -> bool:
    """Whether one path is the other or lies below it."""
    return first == second or first.startswith(f"{second}/") or second.startswith(f"{first}/")


class Graph:
    """Stages by name, and which reads from which."""

    stages: dict[str, Stage]

    def producers(self, dep: str) -> list[str]:
        """Stages whose outputs overlap the path `dep`, in the order of the files."""
        return [name for name, stage in self.stages.items() if any(overlap(out.path, dep) for out in stage.outs)]

    @cached_property
    def parents(self) -> dict[str, list[str]]:
        """For each stage the stages that it reads from."""
        return {
            name: list(dict.fromkeys(p for dep in stage.deps for p in self.producers(dep) if p != name))
            for name, stage in self.stages.items()
        }

    @cached_property
    def consumed(self) -> dict[str, list[str]]:
        """For each stage those of its outputs that make its data version (see `versions.py`)."""
        deps = [(name, dep) for name, stage in self.stages.items() for dep in stage.deps]
        found = {}
        for name, stage in self.stages.items():
            paths = [out.path for out in stage.outs]
            read = [path for path in paths if any(overlap(path, dep) for reader, dep in deps if reader != name)]
            found[name] = read or paths
        return found

    def ancestors(self, name: str) -> set[str]:
        """All stages that a stage reads from, directly or not."""
        found: set[str] = set()
        waiting = list(self.parents[name])
        while waiting:
            parent = waiting.pop()
            if parent not in found:
                found.add(parent)
                waiting += self.parents[parent]
        return found

    def order(self) -> Iterator[str]:
        """Stages, each after all stages that it reads from."""
        done: set[str] = set()

        def visit(name: str) -> Iterator[str]:
            if name not in done:
                done.add(name)
                for parent in self.parents[name]:
                    yield from visit(parent)
                yield name

        for name in self.stages:
            yield from visit(name)
