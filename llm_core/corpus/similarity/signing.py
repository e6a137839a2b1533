"""Signatures of batches of texts."""

from functools import lru_cache

import pyarrow as pa

from llm_core.corpus.similarity.clusters import Near, Signatures, Signer
from llm_core.corpus.similarity.word_hashes import WordHasher


def sign(texts: pa.Array, near: Near) -> Signatures:
    """Signatures of texts (large_string)."""
    hasher, signer = tools(near)
    return signer(*hasher.of_strings(texts))


@lru_cache(maxsize=4)
def tools(near: Near) -> tuple[WordHasher, Signer]:
    """What hashes the words of texts and what makes signatures of the hashes; threads share them."""
    return WordHasher(near.seed), Signer(near)
