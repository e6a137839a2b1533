"""Signatures of batches of documents: in threads of this machine or on a Ray cluster, in order either way."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.corpus.similarity.clusters import Near, Signatures, Signer
from llm_core.corpus.similarity.word_hashes import WordHasher
from llm_core.formats.disk_columns import string_buffers
from llm_core.kernels.words import normal_form
from llm_core.runtime.engine import AHEAD, ahead
from llm_core.runtime.ray_cluster import ray_cluster

Place = TypeVar("Place")


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
    hasher, signer = _tools(near)
    words, counts, digests = words_of(texts, hasher)
    lengths = pc.binary_length(texts).to_numpy()
    return Signed(lengths, digests, signer(words, counts) if signatures else None)


def words_of(
    texts: pa.Array, hasher: WordHasher
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Word hashes of texts (large_string): uint64 [words of all], words of each: int64 [texts], and
    128-bit digests of each one's words, 0 where it has none: uint64 [texts, 2].
    """
    ascii_only = pc.string_is_ascii(texts)
    if not pc.all(ascii_only).as_py():
        texts = _in_normal_form(texts, ascii_only.to_numpy(zero_copy_only=False))
    starts, data = string_buffers(texts)
    words, counts = hasher.of_texts(data, starts)
    digests = np.zeros((len(texts), 2), np.uint64)
    view, end = words.view(np.uint8).data, 0
    for row, count in enumerate(counts.tolist()):
        if count:
            digests[row] = np.frombuffer(blake2b(view[8 * end : 8 * (end + count)], digest_size=16).digest(), np.uint64)
        end += count
    return words, counts, digests


def _in_normal_form(texts: pa.Array, ascii_only: npt.NDArray[np.bool_]) -> pa.Array:
    """The texts, those that are not ASCII in the normal form in which words are compared."""
    rows = np.flatnonzero(~ascii_only)
    values = [normal_form(text) for text in texts.take(pa.array(rows)).to_pylist()]
    return pc.replace_with_mask(texts, pa.array(~ascii_only), pa.array(values, texts.type))


def sign_all(
    batches: Iterator[tuple[Place, pa.Array]], near: Near, signatures: bool, runner: str, workers: int
) -> Iterator[tuple[Place, Signed]]:
    """Sign (place, texts) after (place, texts), a few ahead; the same results in the same order for any runner."""
    if runner == "ray":
        yield from _on_ray(batches, near, signatures, workers)
        return
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield from ((place, sign(texts, near, signatures)) for place, texts in batches)
        return
    with ThreadPoolExecutor(workers) as pool:

        def submit(batch: tuple[Place, pa.Array]) -> Future[Signed]:
            return pool.submit(sign, batch[1], near, signatures)

        for (place, _), signed in ahead(batches, submit, Future.result, workers):
            yield place, signed


def _on_ray(
    batches: Iterator[tuple[Place, pa.Array]], near: Near, signatures: bool, workers: int
) -> Iterator[tuple[Place, Signed]]:
    with ray_cluster("launch.deduplication.runner", workers) as (ray, cpus):
        remote = ray.remote(sign)
        for (place, _), signed in ahead(
            batches, lambda batch: remote.remote(batch[1], near, signatures), ray.get, AHEAD * cpus
        ):
            yield place, signed


@lru_cache(maxsize=4)
def _tools(near: Near) -> tuple[WordHasher, Signer]:
    return WordHasher(near.seed), Signer(near)
