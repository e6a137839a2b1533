"""The rules against datatrove's own verdicts (0.10.1) on public-domain texts, and on numbers that can be checked by
hand.

quality_golden.jsonl holds texts of the default sources, some with faults put in, with verdict, reason and changed
text of datatrove's filters; `benchmarks/cleaning.py` compares the two on 24,000 documents.
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from llm_core.corpus.cleaning.quality import QualityStep
from llm_core.corpus.cleaning.rules.c4 import C4, c4_slowly
from llm_core.corpus.cleaning.rules.fineweb_quality import FineWebQuality
from llm_core.corpus.cleaning.rules.gopher_quality import GopherQuality
from llm_core.corpus.cleaning.rules.gopher_repetition import GopherRepetition
from llm_core.corpus.cleaning.token_memo import Words, hash_token, join, shared_words
from llm_core.corpus.cleaning.token_tables import flags_of
from llm_core.params.quality import built_in

GOLDEN = [json.loads(line) for line in Path(__file__).with_name("quality_golden.jsonl").read_text().splitlines()]
PEERS = {name: rules for name, rules in built_in().items() if name != "perplexity"}  # datatrove has no such filter
RECIPES = PEERS | {"c4_fineweb": [C4(filter_no_terminal_punct=False)]}
MEMO = 1 << 16


@pytest.mark.parametrize("name", list(RECIPES))
def test_verdict_reason_and_text_are_datatroves(name: str) -> None:
    texts = [row["text"] for row in GOLDEN]
    ours = QualityStep(name, RECIPES[name], MEMO).judge(texts)
    for row, (reason, _, text) in zip(GOLDEN, ours, strict=True):
        expected = row["verdicts"][name]
        assert reason == expected["reason"], row["text"][:200]
        if reason is None:
            assert text == expected["text"]


def test_golden_texts_reach_most_reasons() -> None:
    reasons = {row["verdicts"][name]["reason"] for row in GOLDEN for name in RECIPES}
    assert len(reasons) > 25


def test_tokens_are_spacys() -> None:
    words = Words(MEMO)
    chunks = ["it's", "(dog's)", '"Mr.', "U.S.A.,", "10-20km", "e-mail/web", ":-)", "don't", "3.14%", "naïve,", "“So”"]
    chunks += [
        "1,000.",
        "a.m.",
        "http://x.org/a?b=c",
        "foo_bar(x)",
        "C++",
        "covid-19...",
        "IS_ALPHA",
        "’tis",
        "日本語。",
    ]
    tokens = words.tokens(*join([" ".join(chunks)]))
    expected = [token.text for chunk in chunks for token in words.nlp.tokenizer(chunk)]
    assert tokens.lengths.tolist() == [len(token) for token in expected]
    assert tokens.flags.tolist() == [flags_of(token) for token in expected]


PIECES = [*"abzsSmkgKMUCATD019......,,::;!?()[]{}<>_#*&'\"`‘’“”--~~+=/%$^@|\\", "US$", "km", "'s", "http://", ".com"]
PIECES += ["--", "...", "mm", "é", "µ", "км", "don't", "can", "A.", "a.m.", "。"]
SCRIPTS = [
    *"אבગعليन्दीঅকத்ไทยქართհայ한국日本語かナАбяΩώ",
    *"..,,::--/~=–—…、。！？「」，·؟،।¿²½×´“’10aZ",
    "——",
    "……",
    "км",
    ".co",
]


@pytest.mark.parametrize(("pieces", "asked"), [(PIECES, 6_000), (SCRIPTS, 4_000)], ids=["ascii", "scripts"])
def test_tokens_of_random_chunks_are_spacys(pieces: list[str], asked: int) -> None:
    words, order = Words(MEMO), random.Random(1)
    chunks = ["".join(order.choices(pieces, k=order.randint(1, 9))) for _ in range(20_000)]
    tokens = words.tokens(*join([" ".join(chunks)]))
    assert words.asked < asked  # the rest was split here
    expected = [token for split in words.split(chunks) for token in split]
    assert tokens.hashes.tolist() == [int(hash_token(token)) for token in expected]
    assert tokens.lengths.tolist() == [len(token) for token in expected]
    assert tokens.flags.tolist() == [flags_of(token) for token in expected]


def test_each_character_is_what_spacy_takes_it_for() -> None:
    """Alone, between letters and digits, before and behind them, before a stop, and doubled: all of the first plane but
    letters of Han, Hangul and Yi, of which each 50th is tried."""
    words = Words(MEMO)
    codes = np.flatnonzero(words.classes[0])
    assert len(codes) > 50_000
    chars = [chr(code) for code in codes.tolist() if code < 0x3400 or code >= 0xD7A4 or code % 50 == 0]
    for frame in ("{0}", "a{0}b", "1{0}2", "x{0}", "{0}x", "x{0}.", "{0}{0}.", "a.{0}", "{0}.A", "{0},{0}", "{0}-a"):
        chunks = [frame.format(char) for char in chars]
        tokens = words.tokens(*join([" ".join(chunks)]))
        expected = [token for split in words.split(chunks) for token in split]
        assert tokens.hashes.tolist() == [int(hash_token(token)) for token in expected]


def test_a_full_memo_starts_afresh_and_changes_nothing() -> None:
    small, large = Words(64), Words(1 << 16)
    for start in range(0, 3000, 500):
        text = " ".join(f"word{number} x-{number % 7}." for number in range(start, start + 500))
        one, other = (words.tokens(*join([text])) for words in (small, large))
        assert (one.hashes == other.hashes).all() and (one.flags == other.flags).all()
    assert small.used[0] < large.used[0]


def test_figures_by_hand() -> None:
    judge = QualityStep("t", [GopherQuality(min_doc_words=4)], MEMO).judge
    assert judge(["one two three ..."])[0][:2] == ("gopher_short_doc", 3.0)
    repeated = QualityStep("t", [GopherRepetition()], MEMO).judge(["a\nb\na\nb\na"])[0]
    assert repeated[:2] == ("dup_line_frac", 3 / 5)
    line = "Short lines end here."
    assert QualityStep("t", [FineWebQuality()], MEMO).judge([f"{line}\n{line[:-1]}"])[0][:2] == (
        "short_line_ratio",
        1.0,
    )


def test_ngrams_are_compared_as_joined_characters() -> None:
    """Six tokens repeat as characters, cut otherwise, so that no five do; the reason is datatrove 0.10.1's."""
    order = random.Random(0)
    once, again = [], []
    for _ in range(4):
        a, b, c, d, e, f, g, h = ("".join(order.choices("abcdefghijklmnopqrstuvwxyz", k=3)) for _ in range(8))
        once.append(f"{a}{b} {c} {d} {e} {f} {g}{h}")
        again.append(f"{a} {b} {c}{d} {e}{f} {g} {h}")
    verdict = QualityStep("t", [GopherRepetition()], MEMO).judge([" ".join(once + again)])[0]
    assert verdict[:2] == ("duplicated_6_n_grams", 4 * 24 / (2 * 4 * 24 + 8 * 5 + 7))


def test_null_switches_a_rule_off() -> None:
    off = GopherQuality(min_doc_words=None, min_stop_words=None, min_avg_word_length=None)
    assert QualityStep("t", [off], MEMO).judge(["a b c"])[0][0] is None


def test_c4_by_bytes_and_by_strings_agree() -> None:
    rule = C4(filter_no_terminal_punct=False, min_num_sentences=-1)
    judge = QualityStep("t", [rule], MEMO).judge
    for row in GOLDEN:
        reason, text = c4_slowly(row["text"], rule, shared_words(MEMO))
        ours = judge([row["text"]])[0]
        assert ours[0] == reason
        if reason is None:
            assert (row["text"] if ours[2] is None else ours[2]) == text


@pytest.mark.parametrize(
    "text", ["", "\n\n", "\0" * 50, "x" * 200_000, "{" * 3000, "\u3000", "[1]", "\U0001f600 " * 99]
)
def test_odd_texts_get_a_verdict(text: str) -> None:
    for name, rules in RECIPES.items():
        QualityStep(name, rules, MEMO).judge([text, "and another"])


def test_an_exempt_source_is_not_judged() -> None:
    from llm_core.corpus.cleaning.batch import Batch

    none: list[str | None] = [None, None]
    batch = Batch(["1", "2"], ["web", "atlas"], none, ["Too short."] * 2, none, none, none, none)
    QualityStep("gopher_quality", [GopherQuality()], MEMO, exempt=["atlas"])(batch)
    assert list(batch.reasons) == [0]
