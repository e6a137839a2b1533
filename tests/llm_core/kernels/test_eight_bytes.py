"""Eight bytes at a time against bytes one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_core.kernels.eight_bytes import READ, SHORT, eight_bytes, letters, letters_or_digits, lowered, short_key
from llm_core.kernels.hashing import siphash, siphash_short

EIGHT = st.one_of(st.binary(min_size=8, max_size=8), st.text("azAZ@[`{09/:m", min_size=8, max_size=8).map(str.encode))


@given(EIGHT)
def test_letters_and_digits(text: bytes) -> None:
    data = np.frombuffer(b"." + text, np.uint8)
    assert int(eight_bytes(data, 1)) == int.from_bytes(text, "little")
    assert int(lowered(np.uint64(eight_bytes(data, 1)))) == int.from_bytes(text.lower(), "little")
    for count, accepted in ((letters, bytes.isalpha), (letters_or_digits, bytes.isalnum)):
        others = [place for place in range(8) if not accepted(text[place : place + 1])]
        assert count(data, 1) == (others[0] if others else 8)


def test_every_byte_at_every_place() -> None:
    for place in range(8):
        for byte in range(256):
            text = b"a" * place + bytes([byte]) + b"." * (7 - place)
            data = np.frombuffer(text, np.uint8)
            assert letters(data, 0) == place + bytes([byte]).isalpha()
            assert letters_or_digits(data, 0) == place + bytes([byte]).isalnum()


@given(st.binary(min_size=1, max_size=SHORT), st.binary(min_size=READ, max_size=READ))
def test_a_short_piece_as_two_numbers_whatever_follows(text: bytes, rest: bytes) -> None:
    low, high = (int(number) for number in short_key(np.frombuffer(text + rest, np.uint8), 0, len(text)))
    assert (low | high << 64).to_bytes(16, "little") == text.ljust(SHORT, b"\0") + bytes([len(text)])


@given(st.lists(st.binary(min_size=1, max_size=SHORT), max_size=40))
def test_siphash_of_many_pieces_is_that_of_each(texts: list[bytes]) -> None:
    key = np.frombuffer(bytes(range(16)), np.uint64)
    numbers = [short_key(np.frombuffer(text + bytes(READ), np.uint8), 0, len(text)) for text in texts]
    lows, highs = np.array([*numbers, (5, 0)], np.uint64).T.copy()  # a high number of 0: the low one is the hash
    out = np.zeros(len(lows), np.uint64)
    siphash_short(lows, highs, len(lows), key[0], key[1], out)
    hashes = [siphash(np.frombuffer(text, np.uint8), 0, len(text), key[0], key[1]) for text in texts]
    assert out.tolist() == [*hashes, 5]
