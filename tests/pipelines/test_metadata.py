"""What Dagster shows of a cleaning stage's sampled drops."""

import json
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipelines.dvc_project import DvcProject
from pipelines.metadata import figures, stage_metadata, table

DVC = """stages:
  clean:
    cmd: "true"
    outs: [clean/drops.jsonl]
"""


def test_sampled_drops_are_a_table_for_each_reason(tmp_path: Path) -> None:
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "clean").mkdir()
    drop = {"id": "1", "source": "a", "reason": "gopher_short_doc", "score": 3.0, "url": None, "language": "en",
            "characters": 17, "excerpt": "three | <i>\nwords"}  # fmt: skip
    other = drop | {"reason": "language", "score": None, "url": "http://b.org/", "excerpt": "Wort " * 200}
    (tmp_path / "clean/drops.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (drop, drop, other)))
    project = DvcProject(tmp_path)
    metadata = stage_metadata(project, project.stages["clean"])
    shown = str(metadata["drops: gopher_short_doc"].value).splitlines()
    assert shown == [
        "| score | characters | begins | url |",
        "| --- | --- | --- | --- |",
        *["| 3 | 17 | three &#124; &lt;i> words |  |"] * 2,
    ]
    assert "http://b.org/" in metadata["drops: language"].value
    assert len(str(metadata["drops: language"].value).splitlines()[2]) < 200


@pytest.mark.parametrize("text", ["a | b", "x\n\n# heading", "![x](http://evil)", "<script>1</script>",
                                  "[a](javascript:1)", "`code`"])  # fmt: skip
def test_text_from_data_stays_text_in_a_cell(text: str) -> None:
    shown = table((text, "b"), [(text, text)])
    assert {line.count("|") for line in shown.splitlines()} == {3}
    assert len(shown.splitlines()) == 3
    assert not any(mark in shown for mark in ("![", "](", "<script", "`", "\n#"))


def test_the_scores_of_a_benchmark_are_one_table_with_the_name_of_the_first_metric() -> None:
    scores = {f"acc_{number}": number / 10 for number in range(9)}
    shown = figures({"benchmarks": {"quiz": {**scores, "metric": "acc"}, "other": {**scores, "metric": "f1"}}})
    assert list(shown) == ["benchmarks.quiz", "benchmarks.other"]
    assert str(shown["benchmarks.quiz"].value).splitlines()[2] == "| acc_8 | 0.8 |"
    assert str(shown["benchmarks.other"].value).splitlines()[-1] == "| metric | f1 |"
