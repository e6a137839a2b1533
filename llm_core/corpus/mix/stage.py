"""The mix: how much of each source a model sees, exact to the document.

A source's share of the mix follows its weight, or, without weights, its size to the power of
1 / temperature (1: as it comes; larger: small sources count more). A share that asks for more than
`max_epochs` passes over its source is capped, and the others take what is left over in
proportion (Muennighoff et al. 2023: up to 4 passes are worth about as much as new text).

The output has the shape of a split (`train/`, `heldout/`), so that tokenizer training and `tokenize`
read either. A document seen twice is in `train/` twice, with the same id, in a later
pass; passes follow one another, so copies are never neighbours. Which documents a part of a
pass holds is decided by a seeded hash of their ids, never by files or order.
"""

import platform
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.corpus.split.choice import BUNDLE_BYTES, in_order
from llm_core.corpus.split.facts import Facts
from llm_core.errors import UserError, require_known
from llm_core.formats import ledger
from llm_core.formats.disk_columns import ROWS_AT_ONCE, Column, numbers
from llm_core.formats.documents import (
    SHARD_BYTES,
    DocumentWriter,
    count_documents,
    read_numbered_batches,
    require_documents,
    unchanged,
)
from llm_core.formats.pieces import on_documents
from llm_core.kernels.arrays import Flags, Floats, Ints, Small
from llm_core.params.launch import BatchLaunch
from llm_core.params.mix import Mix
from llm_core.runtime import progress
from llm_core.runtime.compilation import njit
from llm_core.runtime.digests import file_digest
from llm_core.runtime.memory import batch_bytes, memory_share
from llm_core.runtime.storage import output_folder, write_json

VERDICTS, REASONS = pa.array(["dropped", "kept"]), pa.array(["left_out_of_mix", None])


def mix(
    split: Path,
    out: Path,
    params: Mix,
    seed: int,
    tokenizer: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
    launch: BatchLaunch = BatchLaunch(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Mix the train side of `split` into `out`; the metrics, with a table of what the mix really is.

    Sizes are UTF-8 bytes, or tokens of `tokenizer` where one is given.
    Raises UserError: no train side there, a weight for a source that is not there.
    """
    train = [str(split / "train")]
    if not (split / "train").is_dir():
        raise UserError(f"{split}: has no folder 'train'; give the output of `llm-core split`")
    counted_in = _identified(tokenizer) if tokenizer else None
    with output_folder(out, [split], stored=True) as folder, unchanged(train):
        facts = Facts(folder, {})
        sizes: Ints
        with progress.task("mix: sizes", total=count_documents(train)) as work:
            looked = on_documents(_sizes, train, ("text",), ("id", "source"), (counted_in,), launch, "mix")
            for _, _, batch, sizes in looked:
                facts.add(batch, sizes)
                work.update(batch.num_rows)
        require_documents(len(facts), train)
        require_known(params.weights, facts.sources, "mix.weights")
        totals = _by_source(facts, lambda here: facts.size.values[here])
        targets = share_out(totals, params)
        passes = choose(facts, targets, totals, seed, folder, memory_share(launch.memory_mb) // BUNDLE_BYTES)
        metrics = _write(train, folder, passes.values, launch.memory_mb, shard_bytes)
        metrics["mix"] = table(facts, passes, totals, targets, "tokens" if tokenizer else "bytes")
        if (split / "heldout").is_dir():
            shutil.copytree(split / "heldout", folder / "heldout")
        write_json(folder / "metrics.json", metrics)
    for line in lines(metrics["mix"]):
        progress.log(line)
    if params.total and round(sum(targets.values())) < params.total:
        mixed, most = metrics["mix"], f"{params.max_epochs:g} passes (mix.max_epochs)"
        progress.log(
            f"mix: {mixed['total']:,} of the {params.total:,} {mixed['unit']} of mix.total, all there is within {most}"
        )
    return metrics


def share_out(totals: dict[str, int], params: Mix) -> dict[str, float]:
    """Size that each source should have in the mix, from its size.

    What a capped source leaves is given to the others, again in proportion, until nothing
    is left or all are capped.
    """
    if params.weights:
        shares = {source: params.weights.get(source, 0.0) for source in totals}
    else:
        shares = {source: float(size) ** (1 / params.temperature) for source, size in totals.items()}
    left = float(params.total or sum(totals.values()))
    targets = dict.fromkeys(totals, 0.0)
    # Lists, not sets: floats are added in one order in every process.
    free = [source for source, share in shares.items() if share > 0 and totals[source] > 0]
    while free:
        weight = sum(shares[source] for source in free)
        full = [source for source in free if left * shares[source] / weight >= params.max_epochs * totals[source]]
        if not full:
            return targets | {source: left * shares[source] / weight for source in free}
        for source in sorted(full):
            targets[source] = params.max_epochs * totals[source]
        left -= sum(targets[source] for source in full)
        free = [source for source in free if source not in full]
    return targets


def choose(
    facts: Facts, targets: dict[str, float], totals: dict[str, int], seed: int, folder: Path, at_once: int
) -> Column:
    """How often each document is seen, so that a source's sizes add up to its target within half a document.

    int64 [documents], on disk. About `at_once` documents are put in order in memory.
    """
    whole = np.array([int(targets[s] // totals[s]) if totals[s] else 0 for s in facts.sources], np.int64)
    rest = np.array([targets[s] - n * totals[s] for s, n in zip(facts.sources, whole.tolist(), strict=True)])
    passes = Column(folder, np.int64)
    for start in range(0, len(facts), ROWS_AT_ONCE):
        passes.append(whole[facts.source.values[start : start + ROWS_AT_ONCE]])
    full = np.zeros(len(whole), np.bool_)
    for some in in_order(facts.ids, numbers(folder, len(facts)).values, seed, folder, at_once):
        _fill(some, facts.source.values, facts.size.values, rest, full, passes.values)
        if full.all():
            break
    return passes


@njit()
def _fill(order: Ints, sources: Small, sizes: Ints, rest: Floats, full: Flags, passes: Ints) -> None:
    """Give the documents `order` (int64 [n]), one after the other, one more pass until their source is full.

    By document: `sources` int32, `sizes` int64, `passes` int64, written. By source: `rest` float64, the size that is
    still wanted, and `full` bool, both written.
    """
    for document in order:
        source = sources[document]
        if full[source]:
            continue
        if rest[source] < sizes[document] / 2:
            full[source] = True
            continue
        passes[document] += 1
        rest[source] -= sizes[document]


def _by_source(facts: Facts, values: Callable[[slice], Ints | Flags]) -> dict[str, int]:
    """Sum over the documents of each source of `values(slice of documents)`."""
    total = np.zeros(len(facts.sources), np.int64)
    for start in range(0, len(facts), ROWS_AT_ONCE):
        here = slice(start, start + ROWS_AT_ONCE)
        np.add.at(total, facts.source.values[here], values(here))
    return dict(zip(facts.sources, total.tolist(), strict=True))


def table(facts: Facts, passes: Column, totals: dict[str, int], targets: dict[str, float], unit: str) -> dict[str, Any]:
    """What the mix is, by source: share wanted and reached, passes over the source, documents left out."""
    in_mix = _by_source(facts, lambda here: facts.size.values[here] * passes.values[here])
    documents = _by_source(facts, lambda here: passes.values[here] > 0)
    left_out = _by_source(facts, lambda here: passes.values[here] == 0)
    everything, wanted = sum(in_mix.values()) or 1, sum(targets.values()) or 1.0
    rows = {
        source: {
            "available": totals[source],
            "in_mix": in_mix[source],
            "share_wanted": targets[source] / wanted,
            "share": in_mix[source] / everything,
            "epochs": in_mix[source] / totals[source] if totals[source] else 0.0,
            "documents": documents[source],
            "documents_left_out": left_out[source],
        }
        for source in sorted(facts.sources)
    }
    return {"unit": unit, "total": sum(in_mix.values()), "by_source": rows}


def lines(mixed: dict[str, Any]) -> Iterator[str]:
    """The table for a person."""
    yield f"{'source':<16}{'available':>14}{'in the mix':>14}{'share':>9}{'epochs':>8}  ({mixed['unit']})"
    for source, row in mixed["by_source"].items():
        yield f"{source:<16}{row['available']:>14,}{row['in_mix']:>14,}{row['share']:>9.2%}{row['epochs']:>8.2f}"


def _write(train: list[str], folder: Path, passes: Ints, memory_mb: int, shard_bytes: int) -> dict[str, Any]:
    """Write pass after pass, and a ledger row for each document with the number of its passes as score."""
    most = int(passes.max(initial=0)) or 1
    with (
        progress.task("mix: write", total=len(passes) * most) as work,
        DocumentWriter(folder / "train/documents", shard_bytes) as writer,
        ledger.LedgerWriter(folder / "ledger", "mix") as judged,
    ):
        for number in range(most):
            start = 0
            for file, offset, batch in read_numbered_batches(train, None, batch_bytes(memory_mb)):
                counts = passes[start : start + batch.num_rows]
                writer.write(batch.filter(pa.array(counts > number)))
                if number == 0:
                    kept = pa.array((counts > 0).astype(np.int8))
                    judged.record_columns(
                        batch.num_rows,
                        id=batch.column("id"),
                        source=batch.column("source"),
                        verdict=VERDICTS.take(kept),
                        reason=REASONS.take(kept),
                        score=pa.array(counts.astype(np.float64)),
                        bytes=pc.binary_length(batch.column("text")),
                        shard=pa.repeat(file, batch.num_rows),
                        offset=pa.array(np.arange(offset, offset + batch.num_rows)),
                    )
                start += batch.num_rows
                work.update(batch.num_rows)
    return judged.finish(len(passes))


def _sizes(batch: pa.RecordBatch, tokenizer: tuple[str, str] | None) -> Ints:
    """UTF-8 bytes of the texts of a batch, or tokens of `tokenizer` (folder and digest): int64 [documents]."""
    texts = batch.column("text")
    if tokenizer is None:
        return np.asarray(pc.binary_length(texts).cast(pa.int64()))
    found = _known(*tokenizer).encode_batch(texts.to_pylist(), add_special_tokens=False)
    return np.array([len(one) for one in found], np.int64)


def _identified(folder: Path) -> tuple[str, str]:
    """A tokenizer's folder, and the digest of its file, by which a node knows that it has the same."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{folder}: holds no tokenizer.json")
    digest = file_digest(file)
    _known(str(folder), digest)
    return str(folder), digest


@lru_cache(maxsize=1)
def _known(folder: str, digest: str) -> Any:
    """The tokenizer in `folder`, made once in each process."""
    from tokenizers import Tokenizer

    file = Path(folder, "tokenizer.json")
    if file_digest(file) != digest:
        raise UserError(f"{folder}: holds another tokenizer on the node {platform.node()}; share one folder")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more specific
        raise UserError(f"{file}: cannot be read as a tokenizer ({error})") from None
