"""Which documents are held out: whole bundles, in the order of a seeded hash, until each source has its share.

A bundle's place in the order is the hash of its least id, so the choice depends on neither order nor sharding. Bundles
are put in order by ranges of the hash that fit the memory, and no range is looked at once every source has its share.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.corpus.split.facts import Facts
from llm_core.formats.disk_columns import ROWS_AT_ONCE, Column, StringColumn, divide
from llm_core.kernels.arrays import Bytes, Flags, Floats, Hashes, Ints
from llm_core.kernels.order import string_before
from llm_core.params.split import Split
from llm_core.runtime.compilation import njit

BUNDLE_BYTES = 64  # of memory for each bundle of a range: its hash and number, their copies, and the order


def choose(facts: Facts, bundles: Ints, params: Split, seed: int, folder: Path, at_once: int) -> Flags:
    """Whether each document is held out: bool [documents], on disk. `bundles`: int64 [documents], the bundle of each.

    A bundle is taken only where it overshoots no source's share by more than half of it; every source of two bundles
    or more gets at least one. About `at_once` bundles are put in order in memory.
    """
    count = int(bundles.max(initial=-1)) + 1
    starts, members, least = (Column(folder, np.int64) for _ in range(3))
    heldout = Column(folder, np.bool_)
    for column, rows in ((starts, count + 1), (members, len(facts)), (least, count), (heldout, len(facts))):
        column.resize(rows)
    _divide(bundles, *facts.ids.buffers, starts.values, members.values, least.values)
    total = np.zeros(len(facts.sources), np.int64)
    for start in range(0, len(facts), ROWS_AT_ONCE):
        here = slice(start, start + ROWS_AT_ONCE)
        np.add.at(total, facts.source.values[here], facts.size.values[here])
    wanted = np.minimum(total * params.heldout_share, params.heldout_megabytes * 1e6)
    taken = np.zeros(len(total), np.int64)
    documents = (starts.values, members.values, facts.source.values, facts.size.values)
    for some in in_order(facts.ids, least.values, seed, folder, at_once):
        _take(some, *documents, total, wanted, taken, heldout.values)
        if (taken >= wanted).all():
            break
    return heldout.values


def in_order(ids: StringColumn, documents: Ints, seed: int, folder: Path, at_once: int) -> Iterator[Ints]:
    """Places in `documents` (int64 [n]) in the order of the seeded hash of each document's id, some at a time."""
    hashes = Column(folder, np.uint64, 3)  # the third is the place
    for start in range(0, len(documents), ROWS_AT_ONCE):
        here = documents[start : start + ROWS_AT_ONCE]
        halves = _hashes(ids.take(here).cast(pa.binary()).to_pylist(), seed)
        hashes.append(np.column_stack([halves, np.arange(start, start + len(here), dtype=np.uint64)]))
    parts = 1 + len(documents) // at_once
    ends = np.array([part * (1 << 64) // parts - 1 for part in range(1, parts)], np.uint64)  # last hash of each part
    for rows in divide(hashes, lambda rows: np.searchsorted(ends, rows[:, 0]), parts, folder):
        yield rows[:, 2].view(np.int64)[np.lexsort(rows[:, 1::-1].T)]


def _hashes(ids: list[bytes], seed: int) -> Hashes:
    """128-bit hashes of ids under the seed, those of `digests.short_hash`, in two halves: uint64 [ids, 2]."""
    seeded = _part(str(seed).encode())
    heads = {size: seeded + size.to_bytes(8, "little") for size in set(map(len, ids))}
    digests = b"".join([blake2b(heads[len(name)] + name, digest_size=16).digest() for name in ids])
    return np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)


def _part(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


@njit()
def _divide(bundles: Ints, id_starts: Ints, ids: Bytes, starts: Ints, members: Ints, least: Ints) -> None:
    """Sort the documents by bundle, and find the one of least id in each.

    `bundles`: int64 [documents]; document i has the id `ids[id_starts[i]:id_starts[i + 1]]` (uint8). Written: `starts`
    int64 [bundles + 1], `members` int64 [documents] (bundle b has `members[starts[b]:starts[b + 1]]`), `least` int64
    [bundles].
    """
    starts[:] = 0
    least[:] = -1
    for bundle in bundles:
        starts[bundle] += 1
    end = 0
    for bundle in range(len(starts)):
        end += starts[bundle]
        starts[bundle] = end
    for document in range(len(bundles) - 1, -1, -1):
        bundle = bundles[document]
        starts[bundle] -= 1
        members[starts[bundle]] = document
        if least[bundle] < 0 or string_before(id_starts, ids, document, least[bundle]):
            least[bundle] = document


@njit()
def _take(
    order: Ints,
    starts: Ints,
    members: Ints,
    sources: npt.NDArray[np.int32],
    sizes: Ints,
    total: Ints,
    wanted: Floats,
    taken: Ints,
    heldout: Flags,
) -> None:
    """Take the bundles `order` (int64 [n]) one after the other where they are needed and fit.

    `starts` and `members`: see `_divide`. By document: `sources` int32, `sizes` int64 (bytes), `heldout` bool, written.
    By source: `total` int64, `wanted` float64, `taken` int64 (bytes), which grows.
    """
    gain = np.zeros(len(total), np.int64)
    for bundle in order:
        needed, fits = False, True
        within = members[starts[bundle] : starts[bundle + 1]]
        for document in within:
            gain[sources[document]] += sizes[document]
        for document in within:
            source = sources[document]
            size = gain[source]
            needed |= taken[source] < wanted[source]
            fits &= taken[source] + size <= 1.5 * wanted[source] or (taken[source] == 0 and size <= total[source] / 2)
        for document in within:
            source = sources[document]
            if needed and fits:
                taken[source] += sizes[document]
                heldout[document] = True
            gain[source] = 0
