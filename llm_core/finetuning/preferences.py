"""Preference rows as token ids, shared by the reward model and by DPO."""

from typing import Any

from llm_core.errors import UserError
from llm_core.finetuning.conversation import IGNORED, encode_conversation
from llm_core.finetuning.training import Job, Row

Pair = dict[str, dict[str, list[int]]]


def conversation(row: Row, answer: str) -> list[dict[str, str]]:
    """The messages of a row's prompt (text, or messages already) with one of its answers."""
    prompt = row["prompt"]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return [*turns, {"role": "assistant", "content": answer}]


def encode_pairs(job: Job, side: str) -> tuple[list[Pair], int]:
    """(pairs of encoded `chosen` and `rejected`, rows left out because one is over max_length)."""
    pairs, dropped = [], 0
    for row in job.rows[side]:
        pair = {
            name: encode_conversation(job.tokenizer, conversation(row, row[name])) for name in ("chosen", "rejected")
        }
        if max(len(encoded["input_ids"]) for encoded in pair.values()) > job.params.max_length:
            dropped += 1
        else:
            pairs.append(pair)
    if not pairs and job.rows[side]:
        raise UserError(f"finetuning.{job.method}.max_length {job.params.max_length}: no {side} row fits")
    return pairs, dropped


def answer_start(encoded: dict[str, list[int]]) -> int:
    """Position of the last answer's first token."""
    labels = encoded["labels"]
    end = len(labels)
    while end and labels[end - 1] == IGNORED:
        end -= 1
    start = end
    while start and labels[start - 1] != IGNORED:
        start -= 1
    return start


def summary(pairs: dict[str, tuple[list[Any], int]]) -> dict[str, int]:
    """Rows used and left out, by side."""
    counts = {f"{side}_rows": len(found) for side, (found, _) in pairs.items()}
    return counts | {f"{side}_dropped": dropped for side, (_, dropped) in pairs.items()}
