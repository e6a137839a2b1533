"""Preference rows as token ids, shared by the reward model and by DPO."""

from typing import Any

from llm_core.errors import UserError
from llm_core.training.finetuning.conversation import encode_conversation
from llm_core.training.finetuning.data.layouts import conversation
from llm_core.training.finetuning.rows import names
from llm_core.training.finetuning.training import Job, batches_of_like_length

Pair = dict[str, Any]  # row, its name, and chosen and rejected as encoded conversations


def encode_pairs(job: Job, side: str) -> tuple[list[Pair], int]:
    """(pairs of encoded `chosen` and `rejected` with their `row`, rows left out because one is over max_length)."""
    pairs, dropped = [], 0
    for row, called in zip(job.rows[side], names(job.rows[side]), strict=True):
        pair = {
            name: encode_conversation(job.tokenizer, conversation(row, row[name])) for name in ("chosen", "rejected")
        }
        if longest(pair) > job.params.max_length:
            dropped += 1
        else:
            pairs.append({**pair, "row": row, "name": called})
    if not pairs and job.rows[side]:
        raise UserError(f"finetuning.{job.method}.max_length {job.params.max_length}: no {side} row fits")
    return pairs, dropped


def longest(pair: Pair) -> int:
    """Tokens of the longer of the pair's two conversations."""
    return max(len(pair[name]["input_ids"]) for name in ("chosen", "rejected"))


def in_order(job: Job, pairs: dict[str, tuple[list[Pair], int]]) -> dict[str, list[Pair]]:
    """The pairs of each side in the order for trainers: batches of similar length."""
    train, heldout = (pairs[side][0] for side in ("train", "heldout"))
    lengths = [longest(pair) for pair in train]
    ordered = batches_of_like_length(train, lengths, job.params.micro_batch, job.seed)
    return {"train": ordered, "heldout": sorted(heldout, key=longest)}


def summary(pairs: dict[str, tuple[list[Any], int]]) -> dict[str, int]:
    """Rows used and left out, by side."""
    counts = {f"{side}_rows": len(found) for side, (found, _) in pairs.items()}
    return counts | {f"{side}_dropped": dropped for side, (_, dropped) in pairs.items()}
