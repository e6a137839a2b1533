"""Bits per byte and perplexity of texts under a causal language model, beside `xz -9` and random weights.

A document is begin token + its tokens + end token, as in training (`models.prompts.document_frame`); the begin token
is given, everything else is predicted exactly once. Documents longer than the context are read in
windows that advance by `stride`; a window scores only what the one before it did not. Bits per byte
divide by the UTF-8 bytes of the text, so that tokenizers, and compressors, can be compared.
"""

import lzma
import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llm_core.errors import UserError
from llm_core.evaluation.journal import Journal
from llm_core.evaluation.statistics import detectable, ratio_and_error, student
from llm_core.formats.documents import document_files, read_batches
from llm_core.models.loading import context_of, device_of
from llm_core.models.prompts import document_frame, encode_text
from llm_core.models.windows import windows
from llm_core.params.evaluation import LanguageModelling
from llm_core.runtime.digests import short_hash
from llm_core.runtime.progress import log
from llm_core.runtime.progress import task as progress_task

Row = dict[str, Any]


class Text(NamedTuple):
    """A document to be scored."""

    id: str
    source: str
    text: str
    ids: list[int]


def read_texts(inputs: list[str], tokenizer: Any, tokens_per_source: int | None) -> list[Text]:
    """Whole documents of each source, in an order fixed by their ids, until each has `tokens_per_source` tokens.

    `inputs` are document files and folders, and `.txt` files, each of which is one document.
    A blank document has no text to be scored. Raises UserError where a `.txt` file, or every document, is blank, and
    where a source has two documents of one id, by which the scores of two models are compared.
    """
    by_source: dict[str, list[tuple[str, str, str]]] = {}
    seen: set[tuple[str, str]] = set()
    blank = 0
    for identifier, source, text in _documents(inputs):
        if (source, identifier) in seen:
            raise UserError(
                f"{', '.join(inputs)}: two documents of source {source} have the id {identifier}; give each once, with "
                "an id of its own"
            )
        seen.add((source, identifier))
        if text and not text.isspace():
            by_source.setdefault(source, []).append((short_hash(identifier), identifier, text))
        elif identifier in inputs:
            raise UserError(f"{identifier}: no text to measure bits per byte on")
        else:
            blank += 1
    if not by_source:
        raise UserError(f"{', '.join(inputs)}: no text to measure bits per byte on")
    if blank:
        log(f"bits per byte: {blank} documents without text are left out")
    begin, end = document_frame(tokenizer)
    chosen = []
    for source, members in sorted(by_source.items()):
        tokens = 0
        for _, identifier, text in sorted(members):
            ids = [*begin, *encode_text(tokenizer, text), *end]
            chosen.append(Text(identifier, source, text, ids))
            tokens += len(ids)
            if tokens_per_source is not None and tokens >= tokens_per_source:
                break
    return chosen


def score_texts(
    network: Any,
    texts: list[Text],
    params: LanguageModelling,
    batch_size: int,
    what: str,
    journal: Journal | None = None,
) -> list[Row]:
    """One row a document: bits, bytes, tokens. The network is in eval mode; logits are taken in fp32.

    `journal` has the batches of a run that was stopped; `what` names the network there and in the progress.
    """
    import torch

    context = min(params.context, context_of(network.config) or params.context)
    stride = min(params.stride, context)
    pieces = [
        (number, begin, end, scored)
        for number, text in enumerate(texts)
        for begin, end, scored in windows(len(text.ids), context, stride)
    ]
    pieces.sort(key=lambda piece: piece[1] - piece[2])  # longest first: little padding in a batch
    nats = [0.0] * len(texts)
    remembered = journal or Journal()
    total = sum(end - begin for _, begin, end, _ in pieces)
    with torch.inference_mode(), progress_task(what, total=total, unit="tokens") as work:
        for start in range(0, len(pieces), batch_size):
            batch = pieces[start : start + batch_size]
            given = [[texts[number].ids[begin : end + 1], scored - begin] for number, begin, end, scored in batch]
            found = remembered.value(what, given, partial(_losses, network, given))
            for (number, *_), value in zip(batch, found, strict=True):
                nats[number] += value
            work.update(sum(end - begin for _, begin, end, _ in batch))
    return [
        {
            "task": "bits_per_byte",
            "source": text.source,
            "id": text.id,
            "bits": nats[number] / math.log(2),
            "bytes": len(text.text.encode("utf-8", "surrogatepass")),
            "tokens": len(text.ids) - 1,
        }
        for number, text in enumerate(texts)
    ]


def _losses(network: Any, pieces: list[list[Any]]) -> list[float]:
    """Nats of each window: (token ids, the first of them that the next token's loss is counted from)."""
    import torch

    device = device_of(network)
    width = max(len(ids) for ids, _ in pieces) - 1
    inputs = torch.zeros(len(pieces), width, dtype=torch.long, device=device)
    targets = torch.full((len(pieces), width), -100, device=device)
    for row, (window, scored) in enumerate(pieces):
        ids = torch.tensor(window, device=device)
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, scored : len(ids) - 1] = ids[scored + 1 :]
    # Causal, padded on the right: what is scored cannot see the padding, so no mask is needed.
    logits = network(input_ids=inputs, use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none"
    ).view(targets.shape)
    return [float(row.double().sum()) for row in losses]


def summarize_texts(rows: list[Row]) -> dict[str, dict[str, float]]:
    """`all` and each source: bits per byte with error and 95 % interval, perplexity per token, sizes."""
    groups: dict[str, list[Row]] = {"all": rows}
    for row in rows:
        groups.setdefault(row["source"], []).append(row)
    scores = {}
    for source, members in groups.items():
        value, error = ratio_and_error([row["bits"] for row in members], [row["bytes"] for row in members])
        half = error * student(0.95, len(members) - 1) if len(members) > 1 else math.nan
        tokens = sum(row["tokens"] for row in members)
        scores[source] = {
            "bits_per_byte": value,
            "bits_per_byte_stderr": error,
            "bits_per_byte_low": value - half,
            "bits_per_byte_high": value + half,
            "detectable": detectable(error * math.sqrt(2)),
            "perplexity": float(np.exp2(sum(row["bits"] for row in members) / tokens)),
            "bytes": sum(row["bytes"] for row in members),
            "tokens": tokens,
            "documents": len(members),
        }
    return scores


def xz_bits_per_byte(texts: Iterable[Text]) -> dict[str, float]:
    """What `xz -9` needs for the very same texts, by source and for all, as one stream each (a lead for xz)."""
    streams: dict[str, bytes] = {"all": b""}
    for text in texts:
        data = text.text.encode("utf-8", "surrogatepass")
        streams["all"] += data
        streams[text.source] = streams.get(text.source, b"") + data
    return {source: 8 * len(lzma.compress(data, preset=9)) / len(data) for source, data in streams.items() if data}


def _documents(inputs: list[str]) -> Iterator[tuple[str, str, str]]:
    for path in inputs:
        if path.endswith(".txt"):
            yield path, Path(path).stem, Path(path).read_text(encoding="utf-8", errors="replace")
            continue
        for file in document_files([path]):
            for batch in read_batches(file):
                columns = (batch.column(name).to_pylist() for name in ("id", "source", "text"))
                yield from zip(*columns, strict=True)
