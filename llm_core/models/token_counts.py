"""How many tokens a text has at least, found from its bytes alone, before the time is spent to encode it.

BPE takes seconds for a megabyte without blanks, which is one word to it. A token of n bytes holds only bytes whose
longest token has n bytes or more; so where each byte of a text counts as 1 / (bytes of the longest token with it), no
token counts as more than 1.
"""

import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np


def least_tokens(tokenizer: Any) -> Callable[[str], int]:
    """A function that gives a number of tokens which `tokenizer` makes of a text at least.

    It is 0 for every text where the tokenizer is no byte-level BPE: others leave characters out, or make one unknown
    token of many.
    """
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ != "BPE" or "ByteLevel" not in str(backend.pre_tokenizer):
        return lambda text: 0
    normalizer = type(backend.normalizer).__name__
    if normalizer not in ("NoneType", "NFC"):
        return lambda text: 0
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    longest = np.full(256, np.inf)  # a byte that no token holds is left out
    for token in tokenizer.get_vocab():
        found = set(token.encode()) if token in added else {byte_of[one] for one in token if one in byte_of}
        length = len(token.encode()) if token in added else len(token)
        for byte in found:
            longest[byte] = length if longest[byte] == np.inf else max(longest[byte], length)
    shares = 1 / longest

    def least(text: str) -> int:
        composed = unicodedata.normalize("NFC", text) if normalizer == "NFC" else text
        data = np.frombuffer(composed.encode("utf-8", "surrogatepass"), np.uint8)
        return int(np.bincount(data, minlength=256) @ shares)  # rounded down: of sums of fractions the last bits differ

    return least
