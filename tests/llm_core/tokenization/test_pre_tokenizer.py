"""The compiled pre-tokenizer against the regular expression in `tokenizers`."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers

from llm_core.params.tokenizer import Tokenizer
from llm_core.tokenization.pattern import pattern
from llm_core.tokenization.pre_tokenizer import LONG_S, character_classes, count_words, word_end
from tests.llm_core.tokenization.conftest import TEXTS

POLICIES = [(3, "runs"), (1, "runs"), (2, "single")]
AWKWARD = "'sSdLlveRE tT\u017f\u212a\ufb06 \t\r\n\x0b\x85\u00a0\u2003\u3000.,!-_#aZé中١½12345e\u0301👩\u200d\x00\x1c"


def cut(text: str, digits: int, whitespace: str) -> list[str]:
    data = np.frombuffer(text.encode(), np.uint8)
    pieces, i = [], 0
    while i < len(data):
        end = word_end(data, i, len(data), character_classes(), digits, whitespace == "runs")
        pieces.append(data[i:end].tobytes().decode())
        i = end
    return pieces


def reference(text: str, digits: int, whitespace: str) -> list[str]:
    params = Tokenizer.model_validate({"digits": digits, "whitespace": whitespace})
    return [piece for piece, _ in pre_tokenizers.Split(Regex(pattern(params)), "isolated").pre_tokenize_str(text)]


@pytest.mark.parametrize(("digits", "whitespace"), POLICIES)
def test_texts(digits: int, whitespace: str) -> None:
    for text in [text for part in TEXTS.values() for text in part]:
        assert cut(text, digits, whitespace) == reference(text, digits, whitespace)


@pytest.mark.parametrize(("digits", "whitespace"), POLICIES)
def test_random_text_of_awkward_characters(digits: int, whitespace: str) -> None:
    draw = random.Random(1)
    for _ in range(4000):
        text = "".join(draw.choices(AWKWARD, k=draw.randrange(1, 14)))
        assert cut(text, digits, whitespace) == reference(text, digits, whitespace)


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text(text: str) -> None:
    assert cut(text, 3, "runs") == reference(text, 3, "runs")


def test_all_of_unicode() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    random.Random(2).shuffle(characters)
    text = "".join(characters)
    assert cut(text, 3, "runs") == reference(text, 3, "runs")


def test_contractions_fold_no_other_character() -> None:
    characters = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    for expression, expected in {"[sdmt]": "sdmtSDMT" + chr(LONG_S), "[lverLVER]": "lverLVER"}.items():
        left = normalizers.Replace(Regex(f"(?i:{expression})"), "").normalize_str(characters)
        assert set(characters) - set(left) == set(expected)


def test_words_are_runs_of_non_space() -> None:
    texts = ["", "  ", "one", " two  words\n", "a\u00a0b\u3000c"]
    data = np.frombuffer("".join(texts).encode(), np.uint8)
    offsets = np.cumsum([0] + [len(text.encode()) for text in texts])
    assert count_words(data, offsets, character_classes()).tolist() == [0, 0, 1, 2, 3]
