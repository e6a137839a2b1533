"""A name that matches nothing is an error that lists the existing names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_core.errors import UserError, require_known
from llm_core.params.cleaning import Cleaning, Language
from llm_core.params.languages import KNOWN, language_code
from llm_core.params.mix import Mix
from llm_core.params.tokenizer import Tokenizer


@given(st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3)))
def test_every_name_must_be_there(names, available):
    unknown = [name for name in names if name not in available]
    if not unknown:
        require_known(names, available, "section.key")
        return
    with pytest.raises(UserError) as told:
        require_known(names, available, "section.key")
    assert str(told.value).startswith(f"section.key: no such name: {unknown[0]}")


def test_the_message_says_what_there_is_and_what_was_meant():
    with pytest.raises(UserError) as told:
        require_known(["factbok"], ["web", "factbook"], "split.group_by")
    assert str(told.value) == (
        "split.group_by: no such name: factbok (there are factbook, web); did you mean 'factbook'?"
    )
    with pytest.raises(UserError, match="there are none"):
        require_known(["a"], [], "x")


@pytest.mark.parametrize("section", [Mix, Tokenizer])
@pytest.mark.parametrize("weights", [{"a": -1, "b": 1}, {"a": float("nan"), "b": 1}, {"a": float("inf")}, {"a": 0}])
def test_weights_are_finite_not_negative_and_not_all_nothing(section, weights):
    with pytest.raises(ValidationError):
        section(weights=weights)
    assert section(weights={"a": 0, "b": 0.5}).weights["b"] == 0.5
    assert section().weights == {}


@pytest.mark.parametrize(
    ("written", "code"),
    [("en", "en"), ("EN", "en"), (" en ", "en"), ("en-US", "en"), ("en_GB", "en"), ("eng", "en"), ("eng_Latn", "en"),
     ("deu", "de"), ("ger", "de"), ("zh-Hans", "zh"), ("cmn", "zh"), ("arb", "ar"), ("arz", "arz")],
)  # fmt: skip
def test_a_language_in_another_spelling_is_the_same_language(written, code):
    assert language_code(written) == code
    assert Cleaning(language=Language(keep=[written])).language.keep == [code]


@pytest.mark.parametrize("written", ["", "english", "xx", "qqq", "12", "en us of a", "*"])
def test_what_is_no_language_is_refused(written):
    with pytest.raises(ValidationError, match="no language code"):
        Language(keep=[written])


def test_every_known_code_is_itself():
    assert {language_code(code) for code in KNOWN} == KNOWN
