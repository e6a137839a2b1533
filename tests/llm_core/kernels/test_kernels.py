"""The shared kernels against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.kernels.hashing import FNV_OFFSET, fnv, hash_bytes, mix
from llm_core.kernels.tables import FREE, clear, number_place, place
from llm_core.kernels.utf8 import characters, decode, last_start
from llm_core.kernels.word_table import FULL, find_or_add, word_table

MASK = (1 << 64) - 1
VECTORS = [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)]


def bytes_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(("text", "value"), VECTORS)
def test_fnv_of_the_authors_test_vectors(text: str, value: int) -> None:
    """Fowler, Noll and Vo: test vectors of FNV-1a, 64 bits."""
    assert fnv(bytes_of(text), 0, len(text), FNV_OFFSET) == value
    assert hash_bytes(bytes_of(text), 0, len(text)) == value ^ (value >> 32)


def test_mix_is_splitmix64() -> None:
    """First outputs of splitmix64 with seed 0 (Vigna's reference code)."""
    state, found = 0, []
    for _ in range(3):
        found.append(int(mix(np.uint64(state))))
        state = (state + 0x9E3779B97F4A7C15) & MASK
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.text(min_size=1))
def test_utf8(text: str) -> None:
    data, at, found = bytes_of(text), 0, []
    while at < len(data):
        code, width = decode(data, at)
        found.append(chr(code))
        at += width
    assert "".join(found) == text and characters(data, 0, len(data)) == len(text)
    assert decode(data, last_start(data, 0, len(data)))[0] == ord(text[-1])


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(0, 1 << 56))
def test_tables_find_what_was_put(numbers: list[int], spread: int) -> None:
    numbers_kept, hashes_kept = np.full(128, FREE, np.int64), np.ones(128, np.uint64)
    mask = clear(hashes_kept, 60)
    for number in numbers:
        numbers_kept[number_place(numbers_kept, number * spread)] = number * spread
        key = np.uint64(number * spread + 1)
        hashes_kept[place(hashes_kept, mask, key)] = key
    distinct = {number * spread for number in numbers}
    assert sorted(numbers_kept[numbers_kept != FREE].tolist()) == sorted(distinct)
    assert sorted(hashes_kept[: mask + 1][hashes_kept[: mask + 1] != 0].tolist()) == sorted(n + 1 for n in distinct)


@given(st.lists(st.binary(max_size=5), max_size=60))
def test_word_table_numbers_words_by_first_appearance(words: list[bytes]) -> None:
    table, order = word_table(64, 400), list(dict.fromkeys(words))
    for word in words:
        data = np.frombuffer(word + b"\0", np.uint8)
        assert find_or_add(table, data, 0, len(word)) == order.index(word)
    assert find_or_add(word_table(1, 2), np.frombuffer(b"abc", np.uint8), 0, 3) == FULL
