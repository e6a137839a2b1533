"""Measures of a finetuned model: loss on answers, generated answers, verifiable rewards, and their errors."""

import math
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.evaluation.answer_matching import answer_f1, normalize
from llm_core.evaluation.statistics import scored
from llm_core.models import generation
from llm_core.models.batches import pad_masks, pad_rows
from llm_core.models.generation import Decoding
from llm_core.models.loading import LoadedModel, device_of
from llm_core.training.finetuning.conversation import IGNORED, prompt_ids

BATCH = 32


def exact_answer(completion: str, answer: str) -> float:
    """1 where the normal forms are equal, else 0."""
    return float(normalize(completion) == normalize(answer))


Score = Callable[[str, str], float]
REWARDS: dict[str, Score] = {"exact_answer": exact_answer, "answer_f1": answer_f1}


def verifiable_reward(name: str) -> tuple[str, Score] | None:
    """(short name, score of completion and right answer) of a reward that needs no model; None for any other name.

    `pattern:REGEX` is 1 where the regular expression matches the whole completion, for a required format.
    """
    kind, colon, expression = name.partition(":")
    if kind == "pattern" and colon:
        try:
            form = re.compile(expression, re.S)
        except re.error as error:
            raise UserError(f"finetuning.rlhf.reward '{name}': no regular expression ({error})") from None
        return "pattern", lambda completion, _: float(form.fullmatch(completion) is not None)
    return (name, REWARDS[name]) if name in REWARDS else None


def mean_token_loss(outputs: Any, targets: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The part of these `targets` (rows, tokens) in a step's mean cross-entropy: Trainer's `compute_loss_func`.

    `num_items_in_batch` is the number of targets in all passes of the step, on all processes; without it the mean is
    over this pass.
    """
    logits = outputs.logits.float().flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return loss / (num_items_in_batch if num_items_in_batch is not None else (targets != IGNORED).sum())


@torch.no_grad()
def answer_loss(model: Any, rows: Sequence[dict[str, list[int]]], pad: int) -> float:
    """Mean cross-entropy in nats per answer token of encoded rows, weighted by tokens, not by rows."""
    total, tokens = 0.0, 0
    model.eval()
    for start in range(0, len(rows), BATCH):
        ids, mask, labels = padded(rows[start : start + BATCH], pad, device_of(model))
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        )
        total += float(loss)
        tokens += int((labels[:, 1:] != IGNORED).sum())
    return total / max(tokens, 1)


@torch.no_grad()
def answer_logps(model: Any, rows: Sequence[dict[str, list[int]]], pad: int) -> list[float]:
    """Sum of the log-probabilities of each row's answer tokens, in nats."""
    sums: list[float] = []
    model.eval()
    for start in range(0, len(rows), BATCH):
        ids, mask, labels = padded(rows[start : start + BATCH], pad, device_of(model))
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        logps = -torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
        )
        sums += logps.sum(1).tolist()
    return sums


def log_ratios(model: Any, start: Any, tokenizer: Any, prompts: Sequence[list[int]], new: int) -> list[float]:
    """log p(answer) - log p_start(answer), in nats, of an answer of at most `new` tokens to each prompt (token ids).

    The answers are drawn from `model` at temperature 1, so that the mean estimates its KL divergence from `start`. Both
    read the tokens that were drawn; their text, encoded again, may be other tokens.
    """
    drawn = generation.generate(LoadedModel.of(model.eval(), tokenizer), prompts, Decoding(new, 1.0), BATCH)
    rows = []
    for prompt, one in zip(prompts, drawn, strict=True):
        said = one.ids + ([tokenizer.eos_token_id] if one.ended == "end" else [])
        rows.append({"input_ids": [*prompt, *said], "labels": [IGNORED] * len(prompt) + said})
    pad = tokenizer.pad_token_id
    return [b - a for a, b in zip(answer_logps(start, rows, pad), answer_logps(model, rows, pad), strict=True)]


def generate(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[list[dict[str, str]]],
    max_new_tokens: int,
) -> list[tuple[str, bool]]:
    """(the likeliest answer, token by token; whether it ended by itself) of each conversation."""
    loaded = LoadedModel.of(model.eval(), tokenizer)
    how = Decoding(max_new_tokens)
    prompts = [prompt_ids(tokenizer, messages, loaded.kind) for messages in conversations]
    found = generation.generate(loaded, prompts, how, BATCH)
    return [(one.text.strip(), one.ended == "end") for one in found]


def padded(
    rows: Sequence[dict[str, list[int]]], pad: int, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Right-padded `input_ids`, `attention_mask`, `labels` on `device`, each int64 (rows, longest)."""
    ids = [row["input_ids"] for row in rows]
    labels = [row.get("labels", row["input_ids"]) for row in rows]
    return pad_rows(ids, pad, device), pad_masks(ids, device), pad_rows(labels, IGNORED, device)


def model_inputs(rows: Sequence[dict[str, list[int]]], pad: int, device: torch.device | str) -> dict[str, torch.Tensor]:
    """A model's inputs on `device`, right-padded int64 (rows, longest): `input_ids`, `attention_mask`, and
    `token_type_ids` where the rows have them.
    """
    ids = [row["input_ids"] for row in rows]
    inputs = {"input_ids": pad_rows(ids, pad, device), "attention_mask": pad_masks(ids, device)}
    if "token_type_ids" in rows[0]:
        inputs["token_type_ids"] = pad_rows([row["token_type_ids"] for row in rows], 0, device)
    return inputs


def mean_and_error(values: Sequence[float], groups: Sequence[str] | None = None, top: float = 1.0) -> dict[str, Any]:
    """Mean with its standard error and 95 % interval, None where one value has none; the number of values.

    With `groups` (`results.groups_of`) the values of one group depend on each other; `top` is the value of a right one.
    """
    if not values:
        return {"mean": None, "standard_error": None, "low": None, "high": None, "items": 0}
    known = scored(values, "mean", groups, top)
    found = [
        known[key] if math.isfinite(known[key]) else None for key in ("mean", "mean_stderr", "mean_low", "mean_high")
    ]
    return dict(zip(("mean", "standard_error", "low", "high"), found, strict=True)) | {"items": len(values)}


def sign_test(wins: int, losses: int) -> float:
    """One-sided p-value of `wins` of wins + losses under the hypothesis that both sides are equally good."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue) if wins + losses else 1.0


def paired(before: Sequence[float], after: Sequence[float], groups: Sequence[str] | None = None) -> dict[str, Any]:
    """Means before and after on the same items, the change's standard error, and the sign test of the rise: of items,
    or of `groups` whose items depend on each other."""
    changes = [b - a for a, b in zip(before, after, strict=True)]
    change = mean_and_error(changes, groups)
    sums = summed(changes, groups)
    wins, losses = sum(one > 0 for one in sums), sum(one < 0 for one in sums)
    return {
        "before": mean_and_error(before)["mean"],
        "after": mean_and_error(after)["mean"],
        "change": change["mean"],
        "change_standard_error": change["standard_error"],
        "p_value": sign_test(wins, losses),
        "items": len(before),
    }


def summed(values: Sequence[float], groups: Sequence[str] | None) -> list[float]:
    """The sum of each group's values; the values themselves without groups."""
    if groups is None:
        return list(values)
    sums: dict[str, float] = {}
    for value, group in zip(values, groups, strict=True):
        sums[group] = sums.get(group, 0.0) + value
    return list(sums.values())


def sample_rows(rows: Sequence[Any], count: int, seed: int) -> list[Any]:
    """`count` rows drawn by the seed, in their order."""
    chosen = sorted(random.Random(seed).sample(range(len(rows)), min(count, len(rows))))
    return [rows[number] for number in chosen]
