"""The compiled encoder against `tokenizers`: the same ids for any text."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from llm_core.params import tokenizer as params
from llm_core.tokenization import encoding, layout
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.layout import Vocabulary
from llm_core.tokenization.merging import LONG
from llm_core.tokenization.pattern import pattern
from tests.llm_core.tokenization.conftest import TEXTS
from tests.llm_core.tokenization.test_pre_tokenizer import AWKWARD


@pytest.fixture(scope="module")
def pair(tokenizer: Path) -> tuple[Encoder, Tokenizer]:
    return Encoder(Vocabulary(tokenizer)), Tokenizer.from_file(str(tokenizer / "tokenizer.json"))


def same(pair: tuple[Encoder, Tokenizer], texts: list[str]) -> None:
    ids, starts = pair[0].encode(pa.array(texts, pa.large_string()))
    for text, begin, end in zip(texts, starts, starts[1:], strict=False):
        assert ids[begin:end].tolist() == pair[1].encode(text, add_special_tokens=False).ids


def test_texts(pair: tuple[Encoder, Tokenizer]) -> None:
    same(pair, [text for part in TEXTS.values() for text in part])


def test_awkward_text(pair: tuple[Encoder, Tokenizer]) -> None:
    draw = random.Random(1)
    same(pair, ["".join(draw.choices(AWKWARD, k=draw.randrange(0, 30))) for _ in range(2000)])


@settings(max_examples=200)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text(pair: tuple[Encoder, Tokenizer], text: str) -> None:
    assume("<|" not in text)  # `tokenizers` reads special tokens in a text; a document's text is never special here
    same(pair, [text])


def test_merges_that_make_the_same_token(tmp_path: Path) -> None:
    merges = [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c"), (b"a", b"a"), (b"a", b"bc"), (b"abc", b"abc"), (b"b", b"c")]
    layout.save(tmp_path, merges, pattern(params.Tokenizer()))
    pair = Encoder(Vocabulary(tmp_path)), Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    draw = random.Random(3)
    same(pair, ["".join(draw.choices("abc", k=n)) for n in (*[12] * 500, 2 * LONG)])


def test_pieces_too_long_to_remember(pair: tuple[Encoder, Tokenizer]) -> None:
    draw = random.Random(2)
    words = ["the", "word", "and", "over", "quick", "fox", "e", "in"]
    same(pair, ["".join(draw.choices(words, k=n)) for n in (20, LONG, 1000)] + [" " * 500 + "x", "-" * 1001])


def test_a_full_memo_starts_anew(pair: tuple[Encoder, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MEMO_WORDS", 7)
    monkeypatch.setattr(encoding, "MEMO_BYTES", 2 * LONG)
    same((Encoder(pair[0].vocabulary), pair[1]), [text for part in TEXTS.values() for text in part] * 2)


def test_more_short_pieces_than_slots(pair: tuple[Encoder, Tokenizer]) -> None:
    encoder = Encoder(pair[0].vocabulary)
    names = [f" {''.join(chr(97 + number // 26**place % 26) for place in range(4))}" for number in range(150_000)]
    arena = np.frombuffer("".join(names).encode(), np.uint8)
    alone, _ = encoder.encode_pieces(arena, np.arange(0, len(arena) + 1, 5))
    for _ in range(2):
        ids, _ = encoder.encode(pa.array(["".join(names)], pa.large_string()))
        assert ids.tolist() == alone.tolist()


def test_ends_and_slices(pair: tuple[Encoder, Tokenizer]) -> None:
    texts = pa.array(["the word", "", "fox"], pa.large_string())
    ids, starts = pair[0].encode(texts, ends=True)
    assert ids.dtype == np.uint16 and starts[-1] == len(ids)
    assert ids[starts[1] : starts[2]].tolist() == [0, 1]
    part, begin = pair[0].encode(texts.slice(2), ends=True)
    assert part.tolist() == ids[starts[2] :].tolist() and begin.tolist() == [0, len(part)]
