"""Run `dvc repro` a hundred times in a shell while the mirror of dvc.lock looks twice a second: no false event.

    python -m benchmarks.orchestration_mirror --repros 100

The toy project of tests/pipelines; before each `dvc repro` a param is edited, so that in turn one stage, nothing, five
stages or all run or are restored. The mirror is the sensor's own function, called with pauses of half a second instead
of ten (a look holds DVC's lock, for which a `dvc repro` waits). After each `dvc repro` the versions of every stage are
read from dvc.lock. An event is false if it says that outputs or an entry are gone, if its versions are none that
dvc.lock had after a `dvc repro`, or if a stage has more events than it had versions. At the end the mirror must have
nothing left to say. Prints the counts; exits with 1 where an event was false or one is missing.
"""

import argparse
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG
from dvc.lock import LockError

from pipelines.dvc_project import DvcProject
from pipelines.mirror import made_anew, missing_events
from tests.pipelines import toy_project as toy

PAUSE_SECONDS = 0.5
Version = tuple[str, str]


def main() -> None:
    """Count the looks, the events and the false ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repros", type=int, default=100)
    repros = parser.parse_args().repros
    with tempfile.TemporaryDirectory() as place, dg.DagsterInstance.local_temp(place) as instance:
        project = toy.create(Path(place) / "project")
        toy.repro(project)
        seen = {name: [version] for name, version in versions(project).items()}
        list(events(project, instance))
        failures: list[Exception] = []
        shell = threading.Thread(target=lambda: run(project, repros, seen, failures))
        shell.start()
        looks, busy, reports, false = 0, 0, Counter[str](), []
        reported: list[tuple[str, Version]] = []
        while shell.is_alive():
            looks += 1
            shell.join(PAUSE_SECONDS)
            try:
                for name, event in events(project, instance):
                    reports[name] += 1
                    tags = event.tags or {}
                    if not made_anew(tags):
                        false.append(f"{name}: {event.description}")
                    reported.append((name, (tags[DATA_VERSION_TAG], tags[CODE_VERSION_TAG])))
            except LockError:
                busy += 1
        for name, _ in events(project, instance):  # what the last `dvc repro` made
            reports[name] += 1
        left = [name for name, _ in events(project, instance)]
    false += [f"{name}: {version} was never in dvc.lock" for name, version in reported if version not in seen[name]]
    made = {name: len(known) - 1 for name, known in seen.items()}
    false += [f"{name}: {reports[name]} events of {made[name]} versions" for name in made if reports[name] > made[name]]
    print(f"{repros} dvc repro, {looks} looks ({busy} found the lock taken); events of versions that dvc.lock had:")
    print("\n".join(f"  {name}: {reports[name]} of {made[name]}" for name in sorted(made)))
    print(
        "\n".join([f"{len(false)} false events", *false, *map(str, failures), f"left to say at the end: {left or 0}"])
    )
    sys.exit(bool(false or failures or left))


def events(project: Path, instance: dg.DagsterInstance) -> list[tuple[str, dg.AssetMaterialization]]:
    """What the sensor reports at a tick, reported."""
    with DvcProject(project) as read:
        found = list(missing_events(read, instance))
    for _, event in found:
        instance.report_runless_asset_event(event)
    return found


def versions(project: Path) -> dict[str, Version]:
    """Data version and code version of each stage in dvc.lock."""
    with DvcProject(project) as read:
        return {name: (str(read.data_version(name)), str(read.locked_code_version(name))) for name in read.stages}


def params(number: int) -> str:
    """The params of one turn: in turn a new title, the same again, another length, more words."""
    text = toy.PARAMS.replace("title: toy", f"title: toy {number // 4}")
    text = text.replace("min_length: 2", f"min_length: {2 + (number + 2) // 4 % 2}")
    return text.replace("words: 12", f"words: {12 + (number + 1) // 4}")


def run(project: Path, repros: int, seen: dict[str, list[Version]], failures: list[Exception]) -> None:
    """Edit a param, `dvc repro`, note new versions; so many times."""
    try:
        for number in range(repros):
            (project / "edited.yaml").write_text(params(number))
            (project / "edited.yaml").replace(project / "params.yaml")
            toy.repro(project, "-q")
            for name, version in versions(project).items():
                if version != seen[name][-1]:
                    seen[name].append(version)
            if number % 10 == 9:
                print(f"{number + 1} done", flush=True)
    except Exception as error:
        failures.append(error)


if __name__ == "__main__":
    main()
