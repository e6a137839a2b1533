"""`dvc plots` draws every plot of dvc.yaml from what the report and the training write."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_core.params import Params
from llm_core.report.documents import account
from llm_core.report.plot_data import HEADERS, write_plot_data
from llm_core.report.stage import write_report
from tests.llm_core.report.test_stage import data  # noqa: F401 - a fixture

PLOTS = yaml.safe_load((Path(__file__).parents[3] / "dvc.yaml").read_text())["plots"]


def drawn(folder: Path) -> dict[str, list[Any]]:
    """Plot -> the points that `dvc plots show` draws."""
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": PLOTS}))
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(["dvc", "plots", "show", "--json"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found.get("errors"), found["errors"]
    return {name: plots[0]["content"]["data"]["values"] for name, plots in found["data"].items() if plots}


@pytest.mark.slow
def test_dvc_draws_every_plot_of_the_graph(data: Path) -> None:  # noqa: F811
    log = data / "models/base/training_log.jsonl"
    points = ({"step": 9, "heldout_bits_per_byte": 1.5}, {"step": 9, "trained/heldout_bits_per_byte": 1.9})
    log.write_text(log.read_text() + "".join(json.dumps(point) + "\n" for point in points))
    (data / "models/base/loss.csv").write_text("step,loss\n1,4.5\n2,4.0\n")
    write_report(data, data / "report", Params())
    found = drawn(data.parent)
    assert set(found) == {name for plot in PLOTS for name in plot}
    assert [row["loss"] for row in found["loss"]] == ["4.5", "4.0"]
    assert [(row["why"], row["documents"]) for row in found["drops"]] == [("too short (cleaned)", "4")]
    assert [(row["source"], row["training bytes, %"]) for row in found["mix"]] == [("a", "100.0")]
    assert ("base: ARC-Easy", "40.0") in [(row["benchmark"], row["right answers, %"]) for row in found["scores"]]
    assert [row["text"] for row in found["bits_per_byte"]] == ["base: all sources", "base: a", "base: b"]
    assert [row["bits per byte"] for row in found["heldout"]] == ["1.5"], "another text is no point of the curve"


def test_a_file_of_nothing_has_its_header(tmp_path: Path) -> None:
    write_plot_data(tmp_path / "plots", tmp_path / "data", {}, account(tmp_path / "data"))
    for name, header in HEADERS.items():
        with open(tmp_path / f"plots/{name}.csv", newline="") as stream:
            assert list(csv.reader(stream)) == [list(header)]
    named = {
        Path(file).stem: column
        for plot in PLOTS
        for drawn in plot.values()
        for file, column in drawn["y"].items()
        if file.startswith("data/report/plots/")
    }
    assert named.keys() == HEADERS.keys() and all(column in HEADERS[name] for name, column in named.items())
