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

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llm_core.errors import UserError, require_known
from llm_core.formats import ledger
from llm_core.formats.documents import (
    SHARD_BYTES,
    DocumentWriter,
    read_documents,
    read_numbered_batches,
    require_documents,
)
from llm_core.params.mix import Mix
from llm_core.runtime import progress
from llm_core.runtime.digests import short_hash
from llm_core.runtime.storage import output_folder, write_json

Measure = Callable[[list[str]], list[int]]


def mix(
    split: Path, out: Path, params: Mix, seed: int, tokenizer: Path | None = None, shard_bytes: int = SHARD_BYTES
) -> dict[str, Any]:
    """Mix the train side of `split` into `out`; the metrics, with a table of what the mix really is.

    Sizes are UTF-8 bytes, or tokens of `tokenizer` where one is given.
    Raises UserError: no train side there, a weight for a source that is not there.
    """
    train = [str(split / "train")]
    if not (split / "train").is_dir():
        raise UserError(f"{split}: has no folder 'train'; give the output of `llm-core split`")
    measure = _tokens(tokenizer) if tokenizer else _bytes
    sizes: dict[str, dict[str, int]] = {}
    with progress.task("mix: sizes") as work:
        for batch in read_documents(train, ["id", "source", "text"]):
            columns = (batch.column(name).to_pylist() for name in ("id", "source"))
            for name, source, size in zip(*columns, measure(batch.column("text").to_pylist()), strict=True):
                sizes.setdefault(source, {})[name] = size
            work.update(batch.num_rows)
    require_documents(sum(map(len, sizes.values())), train)
    require_known(params.weights, sizes, "mix.weights")
    totals = {source: sum(of_source.values()) for source, of_source in sizes.items()}
    targets = share_out(totals, params)
    passes = {source: choose(sizes[source], targets[source], seed) for source in sizes}
    with output_folder(out, [split], stored=True) as folder:
        counts = {name: n for chosen in passes.values() for name, n in chosen.items()}
        metrics = _write(train, folder, counts, shard_bytes)
        metrics["mix"] = table(sizes, totals, targets, passes, "tokens" if tokenizer else "bytes")
        if (split / "heldout").is_dir():
            shutil.copytree(split / "heldout", folder / "heldout")
        write_json(folder / "metrics.json", metrics)
    for line in lines(metrics["mix"]):
        progress.log(line)
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
    free = {source for source, share in shares.items() if share > 0 and totals[source] > 0}
    while free:
        weight = sum(shares[source] for source in free)
        full = {source for source in free if left * shares[source] / weight >= params.max_epochs * totals[source]}
        if not full:
            return targets | {source: left * shares[source] / weight for source in free}
        for source in sorted(full):
            targets[source] = params.max_epochs * totals[source]
        left -= sum(targets[source] for source in full)
        free -= full
    return targets


def choose(sizes: dict[str, int], target: float, seed: int) -> dict[str, int]:
    """How often each document of a source is seen, so that the sizes add up to `target` within half a document."""
    total = sum(sizes.values())
    whole = int(target // total) if total else 0
    rest = target - whole * total
    chosen = dict.fromkeys(sizes, whole)
    for name in sorted(sizes, key=lambda name: short_hash(str(seed), name)):
        if rest < sizes[name] / 2:
            break
        chosen[name] += 1
        rest -= sizes[name]
    return chosen


def table(
    sizes: dict[str, dict[str, int]],
    totals: dict[str, int],
    targets: dict[str, float],
    passes: dict[str, dict[str, int]],
    unit: str,
) -> dict[str, Any]:
    """What the mix is, by source: share wanted and reached, passes over the source, documents left out."""
    reached = {s: sum(sizes[s][name] * count for name, count in passes[s].items()) for s in sizes}
    everything, wanted = sum(reached.values()) or 1, sum(targets.values()) or 1.0
    rows = {
        source: {
            "available": totals[source],
            "in_mix": reached[source],
            "share_wanted": targets[source] / wanted,
            "share": reached[source] / everything,
            "epochs": reached[source] / totals[source] if totals[source] else 0.0,
            "documents": sum(count > 0 for count in passes[source].values()),
            "documents_left_out": sum(count == 0 for count in passes[source].values()),
        }
        for source in sorted(sizes)
    }
    return {"unit": unit, "total": sum(reached.values()), "by_source": rows}


def lines(mixed: dict[str, Any]) -> Iterator[str]:
    """The table for a person."""
    yield f"{'source':<16}{'available':>14}{'in the mix':>14}{'share':>9}{'epochs':>8}  ({mixed['unit']})"
    for source, row in mixed["by_source"].items():
        yield f"{source:<16}{row['available']:>14,}{row['in_mix']:>14,}{row['share']:>9.2%}{row['epochs']:>8.2f}"


def _write(train: list[str], folder: Path, passes: dict[str, int], shard_bytes: int) -> dict[str, Any]:
    """Write pass after pass, and a ledger row for each document with the number of its passes as score."""
    documents = 0
    with (
        DocumentWriter(folder / "train/documents", shard_bytes) as writer,
        ledger.LedgerWriter(folder / "ledger", "mix") as judged,
    ):
        for number in range(max(passes.values(), default=0) or 1):
            for file, offset, batch in read_numbered_batches(train):
                counts = np.array([passes[name] for name in batch.column("id").to_pylist()], np.int64)
                writer.write(batch.filter(pa.array(counts > number)))
                if number == 0:
                    judged.record(_rows(batch, counts, file, offset))
                    documents += batch.num_rows
    return judged.finish(documents)


def _rows(batch: pa.RecordBatch, counts: "np.ndarray[Any, Any]", file: str, offset: int) -> list[ledger.Row]:
    columns = (batch.column(name).to_pylist() for name in ("id", "source", "text"))
    return [
        {
            "id": name,
            "source": source,
            "verdict": "kept" if count else "dropped",
            "reason": None if count else "left_out_of_mix",
            "score": float(count),
            "bytes": len(text.encode("utf-8", "surrogatepass")),
            "shard": file,
            "offset": offset + row,
        }
        for row, (name, source, text, count) in enumerate(zip(*columns, counts.tolist(), strict=True))
    ]


def _bytes(texts: list[str]) -> list[int]:
    return [len(text.encode("utf-8", "surrogatepass")) for text in texts]


def _tokens(folder: Path) -> Measure:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{folder}: holds no tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more specific
        raise UserError(f"{file}: cannot be read as a tokenizer ({error})") from None
    return lambda texts: [len(found) for found in tokenizer.encode_batch(texts, add_special_tokens=False)]
