"""Preference rows as token ids, and their baselines, shared by the reward model and by DPO."""

from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of
from llm_core.training.finetuning.conversation import encode_conversation
from llm_core.training.finetuning.data.layouts import conversation, prompt_text
from llm_core.training.finetuning.order import batches_of_like_length
from llm_core.training.finetuning.rows import names
from llm_core.training.finetuning.training import Job

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


def baseline(job: Job) -> dict[str, Any]:
    """Share of the model's test pairs whose chosen answer is the longer one, or preferred by a linear model.

    The linear model sees TF-IDF features of the answers and how much each overlaps with its prompt. A pair for which a
    baseline has no preference counts a half.
    """
    import numpy as np

    from llm_core.training.finetuning.baselines import features_of, prefer_linearly
    from llm_core.training.finetuning.scoring import mean_and_error

    rows = {side: [pair["row"] for pair in encode_pairs(job, side)[0]] for side in job.rows}
    answers = {
        side: [{"text": prompt_text(row), "text_pair": row[name]} for name in ("chosen", "rejected") for row in found]
        for side, found in rows.items()
    }
    features = {
        side: found[: len(rows[side])] - found[len(rows[side]) :] for side, found in features_of(answers).items()
    }
    margins = {
        "longer_answer": np.array([len(row["chosen"]) - len(row["rejected"]) for row in rows["test"]]),
        "tfidf_logistic_regression": prefer_linearly(features),
    }
    groups = groups_of(rows["test"])
    right = {name: ((np.sign(found) + 1) / 2).tolist() for name, found in margins.items()}
    return {name: {"accuracy": mean_and_error(values, groups)} for name, values in right.items()}
