"""One definition of a word for all scripts."""

import hashlib
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.corpus.similarity.word_hashes import WordHasher
from llm_core.kernels.hashing import siphash
from llm_core.kernels.words import (
    ALONE,
    INVISIBLE,
    LETTER,
    MARK,
    OTHER,
    character_classes,
    mark_ranges,
    normal_form,
    normalize,
    pieces,
    tokens,
    words,
)

SCRIPTS = st.sampled_from(
    [chr(code) for first, last in (
        (0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x370, 0x4FF), (0x5B0, 0x5EA), (0x600, 0x6FF), (0x900, 0x9FF),
        (0xB80, 0xBFF), (0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x200B, 0x200F), (0x3040, 0x30FF),
        (0x4E00, 0x4E20), (0xAC00, 0xAC10), (0xFE00, 0xFE0F), (0x1F600, 0x1F610),
    ) for code in range(first, last + 1)]
)  # fmt: skip
TEXTS = st.text(SCRIPTS, max_size=60)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("यह दिन अच्छा है", "यह दान अच्छा है"),  # Hindi: day, gift
        ("यह दिन अच्छा है", "यह दीन अच्छा है"),  # poor
        ("আমি কালি", "আমি কলি"),  # Bengali
        ("កើត", "កាត"),  # Khmer
        ("ที่", "ที"),  # Thai: a tone mark
        ("பல்", "பால்"),  # Tamil: tooth, milk
        ("كَتَبَ", "كُتُب"),  # Arabic: he wrote, books
        ("שָׁלוֹם", "שִׁלוּם"),  # Hebrew points
        ("မြို့", "မြူ"),  # Myanmar
    ],
)
def test_marks_belong_to_their_word(one: str, other: str) -> None:
    assert words(one) != words(other)
    hasher = WordHasher(0)
    assert hasher(one).tolist() != hasher(other).tolist()


@pytest.mark.parametrize(
    "text", ["小镇附近的河流", "東京タワーに行きました", "แม่น้ำไหลผ่านเมือง", "ទន្លេហូរកាត់ទីក្រុង", "ແມ່ນ້ຳໄຫຼ", "မြစ်သည်မြို့ကို"]
)
def test_text_without_blanks_is_many_words(text: str) -> None:
    assert len(words(text)) > len(text) / 4


def test_a_word_is_what_a_reader_expects() -> None:
    assert words("Don't stop_now, U.S. 3,000!") == ["don", "t", "stop", "now", "u", "s", "3", "000"]
    assert words("Straße café") == ["strasse", unicodedata.normalize("NFC", "café")]
    assert words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]
    assert words("河流 and 山") == ["河", "流", "and", "山"]
    assert words("안녕 세계") == ["안녕", "세계"]


def test_what_only_guides_layout_is_no_difference() -> None:
    assert words("می\u200cخواهم") == words("میخواهم")  # Persian, zero-width non-joiner
    assert words("co\u00adoperate") == ["cooperate"]  # soft hyphen
    assert words("word\ufeff") == ["word"]
    assert words("ខ្ញុំ\u200bទៅ") == words("ខ្ញុំ ទៅ")  # the zero-width space parts words


def test_classes() -> None:
    classes = character_classes()
    assert {classes[ord(char)] for char in "aZ0éя한ध"} == {LETTER}
    assert {classes[ord(char)] for char in "河かカーกកမㄅ"} == {ALONE}
    assert {classes[ord(char)] for char in "\u0301\u093e\u17be\u0e35"} == {MARK}
    assert {classes[ord(char)] for char in "\u200d\u00ad\ufe0f"} == {INVISIBLE}
    assert {classes[ord(char)] for char in " _'-.\u200b😀"} == {OTHER}


@given(TEXTS)
def test_hashes_follow_the_words(text: str) -> None:
    """The compiled scanner cuts where `words` does."""
    key = np.frombuffer(hashlib.blake2b(b"0", digest_size=16).digest(), np.uint64)
    found = [np.frombuffer(word.encode(), np.uint8) for word in words(text)]
    hashes = [siphash(word, 0, len(word), key[0], key[1]) for word in found]
    assert WordHasher(0)(text).tolist() == hashes
    assert WordHasher(0)(text + " " * 20).tolist() == hashes  # words far from the end are hashed together
    assert WordHasher(0)(f"{text} " * 300).tolist() == hashes * 300


@given(TEXTS)
def test_pieces_hold_all_that_is_not_space(text: str) -> None:
    """Pieces follow one another, leave out spaces alone, and cut no word in two."""
    edges = [edge for span in pieces(text) for edge in span]
    assert edges == sorted(edges)
    held = "".join(text[first:last] for first, last in pieces(text))
    assert held == "".join(char for char in text if not char.isspace() and char != "\u200b")
    text = normal_form(text)  # which splits some vowels, such as Thai's am, into a mark and a letter
    assert [word for first, last in pieces(text) for word in words(text[first:last])] == words(text)


def test_pieces_of_scripts() -> None:
    assert [text[first:last] for text in ["a (b), c."] for first, last in pieces(text)] == ["a", "(b),", "c."]
    assert [text[first:last] for text in ["河流。山 é!"] for first, last in pieces(text)] == ["河", "流。", "山", "é!"]


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_ascii_takes_the_short_way_to_the_same(text: str) -> None:
    assert words(text + "é")[: len(words(text)) - 1] == words(text)[:-1]
    assert normal_form(text) == text.casefold()


def test_the_hashes_of_english_are_pinned() -> None:
    """Stored signatures of earlier runs stay valid."""
    assert WordHasher(0)("The river, 1999").tolist() == [
        12095458864513963354,
        15752184236290110440,
        16809941456944432164,
    ]


@given(st.text())
def test_normalize_is_unicodes(text: str) -> None:
    assert normalize("NFKC", text) == unicodedata.normalize("NFKC", text)


def test_many_marks_take_linear_time() -> None:
    text = "a" + "\u0301\u0316" * 200_000  # unicodedata.normalize needs minutes
    assert len(normalize("NFC", text)) >= 399_999
    assert len(words(text)) == 1


def test_mark_ranges_are_the_marks() -> None:
    marks = re.compile(f"[{mark_ranges()}]")
    classes = character_classes()
    assert all((classes[code] == MARK) == bool(marks.match(chr(code))) for code in range(0x20000) if code >> 11 != 0x1B)


def test_tokens_are_words_and_single_marks() -> None:
    assert tokens("दिन, अच्छा।") == ["दिन", ",", "अच्छा", "।"]
    assert tokens("河流 (a_b) x\u200b") == ["河", "流", "(", "a", "_", "b", ")", "x"]


def test_other_rooms_count_the_same_words() -> None:
    """The check of deduplication and word2vec read vowel signs and texts without spaces too."""
    from llm_core.checks.text import similarity
    from llm_core.retrieval.embeddings.sentences import words as sentences

    chinese = "小镇附近的河流与山丘，渔民在那里生活了几个世纪。" * 3
    assert 0.5 < similarity(chinese, chinese + "今天下雨。") < 1
    assert sentences("यह दिन है. don't") == [["यह", "दिन", "है"], ["don't"]]
