"""What is remembered of the texts of a batch: lengths, digests of their words, signatures."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.corpus.similarity.clusters import Near, Signatures
from llm_core.corpus.similarity.signing import tools
from llm_core.kernels.blake2b import digests


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
    return Signed(lengths, digests(words, counts), signer(words, counts) if signatures else None)
