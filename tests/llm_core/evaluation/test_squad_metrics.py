"""Figures equal those that SQuAD's own script, version 2.0, gave for the same answers."""

import json
from pathlib import Path

import pytest

from llm_core.evaluation.squad_metrics import best_threshold, exact_match, f1

RECORDED = Path(__file__).with_name("squad_v2_0.json")
"""Answers that were given, the right ones, and what `evaluate-v2.0.py` computed of each."""
BEST_F1, BEST_THRESHOLD = 43.333333333333336, -4.4  # of `find_best_thresh` on the same rows


def test_exact_match_and_f1_are_the_scripts() -> None:
    rows = json.loads(RECORDED.read_text())
    assert len(rows) == 60
    for row in rows:
        assert exact_match(row["said"], row["answers"]) == row["exact_match"], row
        assert f1(row["said"], row["answers"]) == pytest.approx(row["f1"], abs=1e-12), row


def test_the_threshold_is_the_scripts() -> None:
    rows = json.loads(RECORDED.read_text())
    answerable = [any(f1("", [answer]) == 0 for answer in row["answers"]) for row in rows]
    differences = [row["difference"] for row in rows]
    threshold = best_threshold(differences, [row["f1"] for row in rows], answerable)
    assert threshold == BEST_THRESHOLD
    said = ["" if row["difference"] > threshold else row["said"] for row in rows]
    total = sum(f1(one, row["answers"]) for one, row in zip(said, rows, strict=True))
    assert 100 * total / len(rows) == pytest.approx(BEST_F1)


def test_the_threshold_by_hand() -> None:
    # answered in the order of certainty: right, right, unanswerable, right
    assert best_threshold([-3.0, -2.0, 1.0, 2.0], [1.0, 1.0, 0.0, 1.0], [True, True, False, True]) == -2.0
    assert best_threshold([0.0, 1.0], [0.0, 0.0], [False, False]) < 0.0, "nothing is answered"
    assert best_threshold([1.0, 1.0], [1.0, 1.0], [True, True]) == 1.0, "questions of one difference go together"
