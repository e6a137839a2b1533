"""Sentences of any script: as one line each, passages would not fit into a prompt, and a model would read nothing."""

import time

import pytest

from llm_core.kernels.sentences import sentences


@pytest.mark.parametrize(
    "wanted",
    [
        ["Rivers flow.", "Hills stand;", "3 of them. e.g. this"],
        ["Йордан тече.", "Гора стои."],
        ["गंगा लंबी है।", "यमुना छोटी है॥", "हाँ"],
        ["النيل طويل.", "القاهرة كبيرة؟", "نعم"],
        ["وہ گیا۔", "کیا وہ آیا؟", "“نہیں۔”", "ہاں"],
        ["ሰላም ነው።", "እሺ"],
    ],
)
def test_sentences_with_spaces_between_them(wanted: list[str]) -> None:
    assert sentences(" ".join(wanted)) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        ["长江很长。", "它流入东海。"],
        ["他说：“走吧。”", "她走了（真的？）。", "后来"],
        ["「行こう！」", "『（「はい。」）』", "さあ…本当？！", "おわり。"],
        ["《书。》", "ទឹក។", "ရေ။", "終｡"],
        ['他说："走吧。"', "她走了。", '"好。"', '（"真的？"）', "后来"],
    ],
)
def test_closing_quotes_belong_to_the_sentence_where_no_space_follows(wanted: list[str]) -> None:
    assert sentences("".join(wanted)) == wanted


def test_lines_are_sentences_and_blanks_are_none() -> None:
    assert sentences("one\n\n two. three \n") == ["one", "two. three"]
    assert sentences(" \n") == sentences("") == []


@pytest.mark.parametrize(
    "text", ["。" + "」" * 50_000, "。" * 50_000, '。"' * 50_000, "." + " " * 50_000 + "x", "۔" + "”" * 50_000]
)
def test_the_time_is_linear(text: str) -> None:
    started = time.process_time()
    sentences(text)
    assert time.process_time() - started < 2
