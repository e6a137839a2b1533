"""Signal and noise on numbers that a reader can check by hand, and against scipy's analysis of variance."""

import json
import math
from pathlib import Path

import pytest
from scipy.stats import f_oneway

from llm_core.cli import main
from llm_core.errors import UserError
from llm_core.evaluation.clusters import clusters
from llm_core.evaluation.gold import GOLD
from llm_core.evaluation.results import evaluations
from llm_core.evaluation.signal import Signal, check_runs, scores_of, signals
from llm_core.evaluation.stage import lines
from llm_core.report.metrics_names import nameless
from llm_core.report.scores import _tables

FIRST, SECOND = [1.0, 1.2, 1.4], [2.0, 2.2, 2.4]


def test_the_range_of_means_over_the_spread_within() -> None:
    """Means 1.2 and 2.2, a standard deviation of 0.2 in both: a ratio of 5."""
    recipes = [[{"far": a, "none": b, "one": 1.0} for a, b in zip(FIRST, flat, strict=True)]
               for flat in (FIRST, FIRST)]  # fmt: skip
    recipes[1] = [run | {"far": value} for run, value in zip(recipes[1], SECOND, strict=True)]
    far, none, one = signals(recipes)
    assert (far.score, none.score, one.score) == ("far", "none", "one")
    assert (far.signal, far.noise, far.ratio) == pytest.approx((1.0, 0.2, 5.0))
    assert far.chance == pytest.approx(f_oneway(FIRST, SECOND).pvalue)
    assert none == Signal("none", 0.0, none.noise, 0.0, pytest.approx(1.0))
    assert one.ratio == 0 and math.isnan(one.chance)


def test_scores_are_those_of_evaluations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for recipe, values in (("a", FIRST), ("b", SECOND)):
        for number, value in enumerate(values):
            (tmp_path / f"{recipe}{number}").mkdir()
            quiz = {"metric": "acc", "acc": 0.25, "gold_bpb": value, "acc_stderr": 0.1}
            metrics = {"bits_per_byte": {"all": {"bits_per_byte": value}}, "benchmarks": {"quiz": quiz}}
            metrics["benchmark_clusters"] = {"school": {"benchmarks": 2, "margin": -value}}
            (tmp_path / f"{recipe}{number}" / "metrics.json").write_text(json.dumps(metrics))
    assert scores_of(tmp_path / "b0") == {"bits per byte, all": 2.0, "quiz, acc": 0.25, "quiz, gold_bpb": 2.0,
                                             "cluster school, margin": -2.0}  # fmt: skip
    groups = [",".join(str(tmp_path / f"{recipe}{number}") for number in range(3)) for recipe in "ab"]
    with pytest.raises(SystemExit) as ended:
        main(["signal", *groups])
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "bits per byte, all",
        "cluster school, margin",
        "quiz, gold_bpb",
        "quiz, acc",
    ]
    with pytest.raises(UserError, match="two runs of each"):
        signals([[{"x": 1.0}], [{"x": 2.0}, {"x": 3.0}]])
    with pytest.raises(UserError, match=r"holds no metrics.json"):
        scores_of(tmp_path)


def test_runs_are_evaluations_of_their_own_on_the_same_items(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcd"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        texts = {"all": {"bits_per_byte": 1.0, "documents": 9 - number // 3, "bytes": 700}}
        (folder / "metrics.json").write_text(json.dumps({"bits_per_byte": texts}))
    check_runs([folders[:2], folders[2:3]])
    assert evaluations("a,b/c") == [Path("a"), Path("b/c")]
    with pytest.raises(UserError, match="'a,': a folder's name before or behind a comma is missing"):
        evaluations("a,")
    with pytest.raises(UserError, match="a: is given twice"):
        check_runs([folders[:2], [tmp_path / "b" / ".." / "a"]])
    with pytest.raises(
        UserError, match=r"bits per byte, all: .*a and .*d measured other items \(\(9, 700\) and \(8, 700"
    ):
        check_runs([folders[:2], folders[2:]])


def test_a_cluster_has_the_measures_of_all_its_benchmarks_in_lines_and_report() -> None:
    score = {"metric": "acc", "items": 20, "detectable": 0.1, "acc": 0.5, "acc_stderr": 0.1}
    both = score | {"gold_bpb": 1.0, "gold_bpb_stderr": 0.3, "margin": -0.5, "margin_stderr": 0.3}
    benchmarks = {
        "arc_easy": both,
        "sciq": both | {"gold_bpb": 2.0},
        "boolq": both,
        "lambada_openai": both | {"margin": None},
    }
    metrics = {"benchmarks": benchmarks, "benchmark_clusters": clusters(benchmarks)}
    found = metrics["benchmark_clusters"]
    assert {name: sorted(found[name].keys() & {*GOLD}) for name in found} == {
        "knowledge": ["gold_bpb", "margin"], "reading": ["gold_bpb"],
    }  # fmt: skip
    said = next(line for line in lines(metrics) if line.startswith("knowledge"))
    assert "1.5000 ± 0.2121" in said and said.endswith("(mean of 2 benchmarks)")
    (table,) = (block.content for block in _tables(metrics) if block.kind == "table")
    assert [row["items"] for row in table if "cluster" in row["benchmark"]] == ["2 benchmarks"] * 3
    assert nameless(metrics) == set()
