"""A worse model does not pass the gate, a better one does."""

import numpy as np

from llm_core.evaluation.gate import decide
from llm_core.params.evaluation import Gate


def _results(shift: float, count: int = 60) -> dict[str, list[dict[str, object]]]:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        size, hardness = int(generator.integers(500, 3000)), generator.normal(2.2, 0.3)
        noise = np.random.default_rng([number, int(1000 * abs(shift))]).normal(0, 0.02)
        bits = (hardness - shift + noise) * size
        rows.append({"task": "bits_per_byte", "source": "a", "id": str(number), "bits": bits, "bytes": size})
    return {"bits_per_byte": rows}


def test_only_a_better_model_passes() -> None:
    champion = _results(0.0)
    assert decide(champion, _results(0.05), Gate(), 0).passed
    worse = decide(champion, _results(-0.05), Gate(), 0)
    assert not worse.passed and "evaluation.gate, or in finetuning.runs.NAME.gate" in worse.reason
    assert not decide(champion, champion, Gate(), 0).passed


def test_the_margin_counts() -> None:
    assert decide(_results(0.0), _results(0.05), Gate(margin=0.02), 0).passed
    assert not decide(_results(0.0), _results(0.05), Gate(margin=0.1), 0).passed


def test_too_few_items_prove_nothing() -> None:
    decision = decide(_results(0.0, 5), _results(0.5, 5), Gate(), 0)
    assert not decision.passed and "at least 10 items" in decision.reason


def test_a_metric_that_is_missing_is_no_proof() -> None:
    assert not decide(None, _results(0.0), Gate(metrics=["bits_per_byte", "piqa"]), 0).passed
    assert not decide(_results(0.0), _results(0.1) | {"piqa": []}, Gate(metrics=["bits_per_byte", "piqa"]), 0).passed


def test_an_unknown_metric_is_answered_with_those_there_are() -> None:
    decision = decide(None, _results(0.0) | {"piqa": [{"id": "1", "acc": 1.0}]}, Gate(metrics=["acuracy"]), 0)
    assert decision.reason.startswith("not measured: acuracy (its evaluation has bits_per_byte, piqa); `metrics` in")


def test_scores_that_are_no_numbers_prove_nothing() -> None:
    for bad in (None, float("nan"), float("inf")):
        broken = _results(0.5)
        broken["bits_per_byte"][3]["bits"] = bad
        decision = decide(_results(0.0), broken, Gate(), 0)
        assert not decision.passed and "1 of 60 common items have no finite score" in decision.reason


def test_another_corpus_begins_a_new_comparison_instead_of_closing_the_gate() -> None:
    other = {"bits_per_byte": [row | {"id": f"new-{row['id']}"} for row in _results(0.0)["bits_per_byte"]]}
    gate = Gate(metrics=["bits_per_byte"])
    decision = decide(_results(0.1), other, gate, 0)
    assert decision.passed and "evaluated on other items" in decision.reason, decision.reason
    kept = {"bits_per_byte": other["bits_per_byte"][:30] + _results(0.0)["bits_per_byte"][30:]}
    assert not decide(_results(0.1), kept, gate, 0).passed  # enough items in common: compared on these, and worse
    both = Gate(metrics=["bits_per_byte", "piqa"])
    asked = [{"task": "piqa", "id": str(number), "acc": 1.0} for number in range(20)]
    found = decide(_results(0.0), _results(0.1) | {"piqa": asked}, both, 0)
    assert found.passed and "not compared: piqa" in found.reason


def test_guesses_are_no_measure() -> None:
    def answers(right: float, can: bool) -> dict[str, list[dict[str, object]]]:
        rows = [{"id": str(n), "country": f"c{n}", "exact_match": right, "answerable": can} for n in range(20)]
        return {"exact_match": rows}

    gate = Gate(metrics=["exact_match"])
    for champion in (None, answers(0.0, can=False), answers(0.0, can=True)):
        decision = decide(champion, answers(1.0, can=False), gate, 0)
        assert not decision.passed and decision.reason.startswith("not measured: exact_match")
        assert "exact_match: its questions can only be guessed" in decision.reason
    assert decide(answers(0.0, can=True), answers(1.0, can=True), gate, 0).passed
    assert "guessed" not in decide(None, {"bits_per_byte": []}, gate, 0).reason


def test_own_questions_are_resampled_by_country() -> None:
    """One country gains ten answers, nine gain nothing: many items, but one country in ten."""

    def answers(right: int, countries: int = 10) -> dict[str, list[dict[str, object]]]:
        return {
            "exact_match": [
                {"task": "exact_match", "id": f"{place}-{number}", "country": f"c{place}"}
                | {"exact_match": float(place == 0 and number < right)}
                for place in range(countries)
                for number in range(20)
            ]
        }

    gate = Gate(metrics=["exact_match"])
    decision = decide(answers(0), answers(10), gate, 0)
    assert not decision.passed and "200 items in 10 groups" in decision.reason, decision.reason
    unknown = [{key: row[key] for key in row if key != "country"} for row in answers(10)["exact_match"]]
    assert decide(answers(0), {"exact_match": unknown}, gate, 0).passed is False, "the champion's rows name them"
    before = [{key: row[key] for key in row if key != "country"} for row in answers(0)["exact_match"]]
    assert decide({"exact_match": before}, {"exact_match": unknown}, gate, 0).passed, "independent items would pass"
    alone = decide(answers(0, 1), answers(20, 1), gate, 0)
    assert not alone.passed and "of one group (c0)" in alone.reason
