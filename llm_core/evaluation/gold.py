"""Scores that speak before accuracy does: how well a model expects the right answer, in bits per byte.

A small model is at chance on most benchmarks, while the probability of the right answer already tells recipes apart
(OLMES, arXiv:2406.08446; Heineman et al. 2025, arXiv:2508.13144). Two measures of each item whose answers are scored by
likelihood:

- `gold_bpb`: -log2 of the right continuation's probability, over its length in UTF-8 bytes, the blank before it
  included. This is OLMES's `bits_per_byte`, `bpb_v2` of ai2-olmo-eval. Lower is better.
- `margin`: bits per byte of the best wrong continuation less `gold_bpb`. Above zero the right one is preferred, as in
  accuracy normalised by bytes, but by how much. Higher is better. The best one of several wrong choices is hard to
  beat: with more than two choices the mean margin of a blind model is below zero.
"""

import math
from collections.abc import Sequence
from typing import Any

GOLD = ("gold_bpb", "margin")
LOWER_IS_BETTER = ("gold_bpb",)


def bits_per_byte(log_likelihood: float, continuation: str) -> float:
    """Bits for each UTF-8 byte of a continuation, from its log-likelihood in nats."""
    return -log_likelihood / math.log(2) / max(len(continuation.encode("utf-8", "surrogatepass")), 1)


def measures(log_likelihoods: Sequence[float], continuations: Sequence[str], gold: Sequence[int]) -> dict[str, float]:
    """The measures of one item; of several right continuations the best one counts. No margin without a wrong one.

    >>> measures([-2 * math.log(2), -6 * math.log(2)], [" a", " bc"], [0])
    {'gold_bpb': 1.0, 'margin': 1.0}
    """
    bits = [bits_per_byte(*pair) for pair in zip(log_likelihoods, continuations, strict=True)]
    right = min((bits[place] for place in gold), default=math.nan)
    wrong = [bits[place] for place in range(len(bits)) if place not in gold]
    return {"gold_bpb": right} | ({"margin": min(wrong) - right} if wrong else {})


def gold_choices(task: Any, doc: Any) -> list[int]:
    """Positions of the right choices of an item of a multiple-choice task of lm-eval-harness."""
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    if isinstance(gold, str):
        choices = task.doc_to_choice(doc)
        return [choices.index(gold)] if gold in choices else []
    return [int(one) for one in gold] if isinstance(gold, list) else [int(gold)]


def measured(task: Any, sample: dict[str, Any]) -> dict[str, float]:
    """The measures of a scored item of lm-eval-harness; {} where its answer is generated."""
    if task.OUTPUT_TYPE == "loglikelihood":
        gold = [0]
        count = 1
    elif task.OUTPUT_TYPE == "multiple_choice":
        gold = gold_choices(task, sample["doc"])
        count = len(
            task.doc_to_choice(sample["doc"])
        )  # lm-eval adds each choice without its question for `acc_mutual_info`
    else:
        return {}
    likelihoods = [answer[0] for answer in sample["filtered_resps"][:count]]
    return measures(likelihoods, [continuation for _, continuation in sample["arguments"][:count]], gold)
