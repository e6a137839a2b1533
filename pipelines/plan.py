"""`llm-core plan`: what `dvc repro [TARGET...]` would run, why, and what it would cost, before anything runs.

Reasons are DVC's own comparison of dvc.lock with the working copy, down to the param and the
file. A stage below a stale one runs only if that one's output really changes (early cut-off),
so it is listed as "maybe", and its cost counts only in the upper bound. Expectations are
the median of past runs (`past_runs.py`) and the output sizes in dvc.lock.
"""

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.runtime.nested import flatten
from llm_core.runtime.terminal import printable, say_json, say_lines
from pipelines.dvc_files import LOCK_FILE
from pipelines.dvc_project import DvcProject
from pipelines.graph import DVC_FILE
from pipelines.past_runs import usual_times

MAX_NAMES = 4


@dataclass
class Expectation:
    """Expected cost of a stage; None where it has never run here."""

    seconds: float | None = None
    cpu_seconds: float | None = None
    bytes: int = 0


@dataclass
class Planned:
    """A stage that is stale (`sure`), or will be if a stage before it changes its output.

    `restored`: DVC has the outputs in its cache and will check them out instead of running the stage.
    """

    stage: str
    sure: bool
    reasons: list[str]
    expectation: Expectation = field(default_factory=Expectation)
    restored: bool = False


def plan(root: Path, targets: Sequence[str] = ()) -> list[Planned]:
    """The stages that are stale or may become stale, in the order in which they would run.

    They are those of the default graph, or the targets (stages, or dvc.yaml files of experiments) and all that they
    read from. Raises ValueError for a target that is neither.
    """
    planned: dict[str, Planned] = {}
    with DvcProject(root) as project:
        asked = targeted(project, targets or [DVC_FILE])
        edited = edited_files(project)
        for name in (name for name in project.order() if name in asked):
            reasons = stale_reasons(project, name, edited)
            restored = {parent for parent, item in planned.items() if item.restored}
            above = [p for p in project.parents[name] if p in planned and p not in restored and p != edited.stage]
            if reasons and not above and name not in edited.why and project.restorable(name, restored):
                planned[name] = Planned(name, True, reasons, restored=True)
            elif reasons or above:
                words = reasons or [f"if {', '.join(above)} changes its output"]
                planned[name] = Planned(name, bool(reasons), words, expectation(project, name))
    return list(planned.values())


class Edited(NamedTuple):
    """What the stage that writes digests of the user's files would change if it ran now."""

    stage: str = ""
    why: Mapping[str, list[str]] = {}
    """why it and the stages that read digests are stale"""
    same: Mapping[str, set[str]] = {}
    """of a stage the files of digests that would be as in its entry in dvc.lock, whatever they are now"""
    files: Sequence[Path] = ()
    """the user's files and folders"""


UNEDITED = Edited()


def edited_files(project: DvcProject) -> Edited:
    """Compare the user's files with their digests.

    DVC learns of an edited document only by running that stage, which has no dependencies and always runs; here the
    digests are compared without a run. Empty where there is no such stage, or it has not run.
    """
    from llm_core.params import load  # not needed by a run's worker, whose start they would delay by a fifth
    from llm_core.params.external import compared_inputs, external_inputs

    for name, stage in project.stages.items():
        if stage.cmd.split()[:2] != ["llm-core", "inputs"] or name not in project.lock:
            continue
        folder = stage.outs[0].path
        with contextlib.chdir(project.root):  # params name paths from here
            params = load()
            compared = compared_inputs(params, Path(folder))
            named = [Path(path).expanduser().absolute() for paths in external_inputs(params).values() for path in paths]
        why: dict[str, list[str]] = {}
        same: dict[str, set[str]] = {}
        for part, (changed, text) in compared.items():
            path, digest = f"{folder}/{part}.json", hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            stale = [name]
            for reader in (stage.name for stage in project.stages.values() if path in stage.deps):
                if project.locked(reader, "deps").get(path) == digest:
                    same.setdefault(reader, set()).add(path)
                else:
                    stale.append(reader)
            for one in stale if changed else ():
                why.setdefault(one, []).append(f"file {_named(changed)} changed")
        return Edited(name, why, same, list(dict.fromkeys(named)))
    return UNEDITED


def targeted(project: DvcProject, targets: Sequence[str]) -> set[str]:
    """The stages that `dvc repro TARGET...` checks: those named by stage, group or file, and all before them."""
    asked: set[str] = set()
    for target in targets:
        names = [s.name for s in project.stages.values() if target in (s.name, s.name.partition("@")[0], s.file)]
        if not names:
            raise ValueError(f"{target}: no such stage or file; files: {', '.join(project.files)}")
        asked |= {ancestor for name in names for ancestor in (name, *project.ancestors(name))}
    return asked


def expectation(project: DvcProject, name: str) -> Expectation:
    """Expected cost of a stage, from past runs here (with its present number of steps) and dvc.lock."""

    def params() -> dict[str, Any]:
        return {key: value for file in project.workspace_params(name).values() for key, value in flatten(file).items()}

    seconds, cpu = usual_times(project.root, name, params) or (None, None)
    size = sum(out.get("size", 0) for out in project.lock.get(name, {}).get("outs", []))
    return Expectation(seconds, cpu, size)


def stale_reasons(project: DvcProject, name: str, edited: Edited = UNEDITED) -> list[str]:
    """Why a stage is stale, each reason with the exact param, file or command; [] where it is not."""
    if name not in project.lock:
        return ["has never run", *edited.why.get(name, [])]
    changes = project.changes(name)
    reasons = ["command changed"] if changes["command"] else []
    for file, params in changes["params"].items():
        reasons += _param_reasons(project, name, file, params)
    for path, change in changes["deps"].items():
        if path in edited.same.get(name, ()):
            continue
        makers = project.producers(path)
        what = f"output of {', '.join(makers)}," if makers else "file"
        reasons.append(f"{what} {path} {change}{_files(project, name, path)}")
    reasons += [f"its own output {path} {change}" for path, change in changes["outs"].items()]
    return reasons + edited.why.get(name, [])


def price_of_cpu_hour() -> float:
    """Price of a CPU hour, in any currency, from the environment's PIPELINE_PRICE; 0 leaves costs out."""
    return float(os.environ.get("PIPELINE_PRICE") or 0)


def describe(planned: list[Planned], price: float) -> list[str]:
    """The plan as text; `price` is the price of a CPU hour, 0 to leave costs out."""
    if not planned:
        return ["Nothing is stale: `dvc repro` would run nothing."]
    lines, width = [], max(21, *(len(item.stage) for item in planned))
    for item in planned:
        what = "restore" if item.restored else "run" if item.sure else "maybe"
        means = "from DVC's cache" if item.restored else cost(item.expectation, price)
        lines.append(f"{what:<7} {item.stage:<{width}} {means}")
        lines += [f"        {reason}" for reason in item.reasons]
    run = [item for item in planned if not item.restored]
    sure = [item for item in run if item.sure]
    if len(run) < len(planned):
        lines.append(f"{len(planned) - len(run)} stages restored from DVC's cache, without a run")
    lines.append(f"minimum: {len(sure)} of {len(run)} stages run, {_total(sure, price)}")
    if len(sure) < len(run):
        lines.append(f"maximum: all {len(run)} run, {_total(run, price)}")
    return lines


def main() -> None:
    """Entry point of `python -m pipelines.plan`, which `llm-core plan` runs."""
    parser = argparse.ArgumentParser(prog="llm-core plan", description="What would run, why, and what it would cost.")
    parser.add_argument("targets", nargs="*", help="stages or dvc.yaml files; the default graph where none is named")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--price", type=float, default=price_of_cpu_hour(), help="money per CPU hour; PIPELINE_PRICE")
    options = parser.parse_args()
    try:
        planned = plan(Path.cwd(), options.targets)
    except Exception as error:  # DVC's errors name file and line
        sys.exit(f"llm-core: error: {printable(error, lines=False)}")
    if options.json:
        say_json([asdict(item) for item in planned], indent=2)
    else:
        say_lines(describe(planned, options.price))


def _param_reasons(project: DvcProject, name: str, file: str, change: dict[str, str] | str) -> list[str]:
    if isinstance(change, str):
        return [f"params file {file} {change}"]
    before = flatten((project.lock[name].get("params") or {}).get(file, {}))
    now = flatten(project.workspace_params(name).get(file, {}))
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return [f"param {key}: {before.get(key, 'unset')} -> {now.get(key, 'unset')}" for key in changed]


def _files(project: DvcProject, name: str, path: str) -> str:
    """Names of the files of a changed folder: those that differ from the commit of dvc.lock, or are newer than it."""
    folder, lock = project.root / path, (project.root / project.stages[name].file).with_name(LOCK_FILE)
    if not folder.is_dir() or not lock.is_file():
        return ""
    command = ["git", "status", "--porcelain", "--", path]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False)
    names = [line[3:] for line in done.stdout.splitlines()]
    if not names:
        since = lock.stat().st_mtime
        files = (file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
        names = [file.relative_to(project.root).as_posix() for file in files if file.stat().st_mtime > since]
    return f" ({_named(names)})" if names else ""


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}"


def cost(expected: Expectation, price: float) -> str:
    """Time, CPU time, disk and (with a price per CPU hour) money in a few words."""
    if expected.seconds is None:
        return "never timed here"
    money = f", {price * (expected.cpu_seconds or 0) / 3600:.4f} in money" if price else ""
    return f"{_time(expected.seconds)}, {_time(expected.cpu_seconds or 0)} CPU, {_size(expected.bytes)}{money}"


def _total(items: list[Planned], price: float) -> str:
    total = Expectation(
        sum(item.expectation.seconds or 0 for item in items),
        sum(item.expectation.cpu_seconds or 0 for item in items),
        sum(item.expectation.bytes for item in items),
    )
    unknown = sum(item.expectation.seconds is None for item in items)
    return cost(total, price) + (f", and {unknown} never timed here" if unknown else "")


def _time(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"


if __name__ == "__main__":
    main()
