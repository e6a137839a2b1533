"""The code location as servers and a run's worker load it, and params as DVC reads them."""

import os
import subprocess
import sys
from pathlib import Path

from pipelines.dvc_project import DvcProject
from tests.pipelines import toy_project as toy

ROOT = Path(__file__).parents[2]
LOAD_BOTH = """\
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import (
    initialize_repository_def_from_pointer, reconstruct_repository_def_from_pointer)
pointer = ModuleCodePointer("pipelines.definitions", "defs", ".")
for load in initialize_repository_def_from_pointer, reconstruct_repository_def_from_pointer:
    made = load(pointer)
    specs = sorted((spec.key.to_user_string(), spec.code_version) for spec in made.asset_graph.asset_nodes)
    names = sorted(item.name for item in [*made.get_all_jobs(), *made.schedule_defs, *made.sensor_defs])
    print(specs, names, sorted(map(str, made.asset_graph.asset_check_keys)))
"""


def test_a_worker_loads_what_the_servers_show(project: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_PROJECT": str(project)}
    done = subprocess.run([sys.executable, "-c", LOAD_BOTH], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown, run = done.stdout.splitlines()
    assert "words_a" in shown and "weekly" in shown and run == shown


def test_params_are_those_that_dvc_reads(project: Path) -> None:
    keys = ["title", "title.none", "sources.a.words", "sources.none", "list", "list.1.deep", "list.9", "list.none"]
    toy.edit(project, "params.yaml", "title: toy", "title: toy\nlist: [1, {deep: 2}]")
    toy.edit(project, "dvc.yaml", "params: [title]", f"params: [{', '.join(keys)}]")
    with DvcProject(project) as toys:
        (dep,) = (dep for dep in toys._dvc_stages["report"].deps if hasattr(dep, "read_params"))
        found = toys.workspace_params("report")["params.yaml"]
        assert found == dep.read_params()
    assert found == {"title": "toy", "sources.a.words": 12, "list": [1, {"deep": 2}], "list.1.deep": 2}
