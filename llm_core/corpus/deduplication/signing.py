"""What is remembered of the texts of a batch: lengths, digests of their words, signatures."""

from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.corpus.similarity.clusters import Near, Signatures
from llm_core.corpus.similarity.signing import tools

NONE = bytes(16)  # the digest of a text without words


class Signed(NamedTuple):
    """What is remembered of the texts of a batch."""

    lengths: npt.NDArray[np.int64]
    """UTF-8 bytes: int64 [documents]"""
    digests: npt.NDArray[np.uint64]
    """128-bit digest of the words, 0 for a text without words: uint64 [documents, 2]"""
    signatures: Signatures | None
    """None where near-duplicates are not looked for"""


def sign(texts: pa.Array, near: Near, signatures: bool) -> Signed:
    """Sign the texts (large_string) of a batch."""
    hasher, signer = tools(near)
    words, counts = hasher.of_strings(texts)
    lengths = pc.binary_length(texts).to_numpy()
    return Signed(lengths, digests_of(words, counts), signer(words, counts) if signatures else None)


def digests_of(words: npt.NDArray[np.uint64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """128-bit digests of the words of texts, 0 for one that has none: uint64 [texts, 2].

    `words`: uint64 [words of all], hashes; `counts`: int64 [texts], words of each.
    """
    view, ends = words.view(np.uint8).data, [0, *(8 * np.cumsum(counts)).tolist()]
    digests = [
        blake2b(view[start:end], digest_size=16).digest() if end > start else NONE for start, end in pairwise(ends)
    ]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2).copy()  # may be written
