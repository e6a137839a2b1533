"""Short answers in any script match exactly where their words are the same."""

import pytest

from llm_core.evaluation.answer_matching import answer_f1, holds, normalize


@pytest.mark.parametrize("answer", ["The Hague", "कि", "東京", "Москва", "👍", "!?", "the", ""])
def test_an_answer_matches_itself(answer: str) -> None:
    assert normalize(answer) == normalize(answer) and answer_f1(answer, answer) == 1.0


@pytest.mark.parametrize(("one", "other"), [("कि", "का"), ("👍", "👎"), ("東京", "京都"), ("the", "a")])
def test_different_answers_differ(one: str, other: str) -> None:
    assert normalize(one) != normalize(other) and answer_f1(one, other) < 1.0


def test_squads_form_in_english() -> None:
    assert normalize("An  apple, the U.S. dollar!") == "apple u s dollar"
    assert answer_f1("the red apple", "a red pear") == 0.5
    assert answer_f1("東京都", "東京") == pytest.approx(0.8)


def test_words_of_an_answer_stand_in_a_row() -> None:
    assert holds("It is New York City.", "new york") and not holds("New City York", "new york")
    assert not holds("anything", "", "!")
