"""Checks of the tokenizer, the token shards and a training run."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from llm_core.checks import Verdict
from llm_core.formats.documents import document_files, read_batches
from llm_core.formats.names import FINAL, OLD_FINAL
from llm_core.params.checks import Checks
from llm_core.runtime import json_lines
from llm_core.runtime.storage import read_json

HELDOUT = ("heldout_bits_per_byte", "heldout_loss")  # over all sources; causal models log the first, others the second


def round_trip(tokenizer: Path, documents: Path, params: Checks) -> Verdict:
    """Decoding what was encoded gives back the same text, character by character."""
    from tokenizers import Tokenizer

    model = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    texts = _sample(documents, params.sample)
    broken = []
    for name, text in texts:
        ids = model.encode(text, add_special_tokens=False).ids
        if model.decode(ids, skip_special_tokens=False) != text:
            broken.append(name)
    figures = {"documents looked at": len(texts), "vocabulary": model.get_vocab_size(), "broken": len(broken)}
    if broken or not texts:
        what = f"{len(broken)} of {len(texts)} documents do not survive encoding and decoding (first: {broken[:1]})"
        return Verdict(
            False,
            f"{what if texts else 'no documents to try'}: use byte-level pre-tokenization without normalization",
            figures,
        )
    return Verdict(True, f"{len(texts)} documents came back unchanged", figures)


def conservation(tokens: Path, split: Path, params: Checks) -> Verdict:
    """Every document of the split is in the token shards exactly once, with at least one token."""
    from llm_core.formats.token_shards import TokenShards

    figures: dict[str, Any] = {}
    wrong = []
    for side in ("train", "heldout"):
        shards = TokenShards(tokens / side)
        encoded = {shards.id(document) for document in range(len(shards))}
        wanted = {id for file in document_files(split / side) for b in read_batches(file, ["id"]) for id in _ids(b)}
        empty = int((shards.lengths == 0).sum())
        figures |= {f"{side} documents": len(wanted), f"{side} tokens": int(shards.lengths.sum())}
        if encoded != wanted or len(encoded) != len(shards) or empty:
            lost, strange = len(wanted - encoded), len(encoded - wanted)
            wrong.append(f"{side}: {lost} lost, {strange} unknown, {len(shards) - len(encoded)} twice, {empty} empty")
    if wrong:
        return Verdict(False, f"{'; '.join(wrong)}: run the stage again (`dvc repro --force -s tokenize`)", figures)
    return Verdict(True, f"{figures['train documents']} + {figures['heldout documents']} documents, none lost", figures)


def loss(model: Path, params: Checks, previous: Mapping[str, Any] | None) -> Verdict:
    """All logged losses are finite, and the last held-out loss is near the best accepted one (`previous`).

    The held-out loss is bits per byte of causal models and nats per predicted token of the others. Losses after
    other training tokens (another corpus, split or tokenizer) are not compared: the best accepted loss begins anew, and
    the verdict says so. The digest of these tokens is the one in the model's record, training_data.json.
    """
    log = model / "training_log.jsonl"
    rows = [
        {key.removeprefix(FINAL).removeprefix(OLD_FINAL): value for key, value in row.items()}
        for row in json_lines.load_rows(log)
    ]
    losses = [(row.get("step", 0), key, value) for row in rows for key, value in row.items() if _is_loss(key)]
    bad = [(step, key) for step, key, value in losses if not isinstance(value, int | float) or not math.isfinite(value)]
    heldout = [value for _, key, value in losses if key in HELDOUT]
    final = (heldout or [value for _, key, value in losses if "/" not in key] or [math.nan])[-1]  # not of one source
    logged = sum(any(_is_loss(key) for key in row) for row in rows)  # a row has a loss, and parts of it by source
    figures: dict[str, Any] = {"final loss": final, "logged": logged}
    if bad or not losses:
        where = f"{bad[0][1]} at step {bad[0][0]} is not finite" if bad else f"{log.name} logs no loss"
        return Verdict(
            False,
            f"{where}: lower pretraining's learning rate or lengthen its warm-up, and look at the last batches",
            {"logged": logged},
        )
    figures["tokens digest"] = read_json(model / "training_data.json")["tokens_digest"]
    if previous and previous.get("tokens digest") != figures["tokens digest"]:
        before = previous.get("tokens digest") or "not recorded"
        return Verdict(
            True,
            f"final loss {final:.4f}; a new comparison begins, because the last accepted model was trained on other "
            f"tokens (digest {before}, now {figures['tokens digest']})",
            {**figures, "best loss": final},
        )
    best = previous["best loss"] if previous else None
    figures["best loss"] = final if best is None else min(best, final)
    if best is not None and final > best + params.loss_margin:
        return Verdict(
            False,
            f"the final loss {final:.4f} lies above the best accepted {best:.4f} + checks.loss_margin: compare "
            "the runs in MLflow, and raise the margin only where the change of the model explains the rise",
            figures,
        )
    return Verdict(True, f"final loss {final:.4f}, best accepted {figures['best loss']:.4f}", figures)


def _is_loss(key: str) -> bool:
    return "loss" in key or key.startswith(HELDOUT[0])


def _sample(documents: Path, size: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for file in document_files(documents):
        for batch in read_batches(file, ["id", "text"]):
            found += zip(_ids(batch), batch["text"].to_pylist(), strict=True)
            if len(found) >= size:
                return found[:size]
    return found


def _ids(batch: Any) -> list[str]:
    return pc.cast(batch["id"], "string").to_pylist()  # type: ignore[no-any-return]
