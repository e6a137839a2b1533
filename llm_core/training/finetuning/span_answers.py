"""The span of a context that answers a question: encoding in windows, a start and an end for each, and no answer.

The recipe is that of transformers' `run_qa`: the question precedes every window on a long context; in a window
that does not hold the whole answer, both ends point to the place that means "no answer"; at use the best pair over all
windows is the answer, and no answer is scored by the window that is least sure of it. An encoder says "no answer" at
its first token, as BERT does; a decoder at its last, since its first has seen nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from llm_core.models.batches import pad_masks, pad_rows
from llm_core.models.family import Kind
from llm_core.models.loading import device_of
from llm_core.models.prompts import encode_text
from llm_core.training.finetuning.scoring import BATCH
from llm_core.training.finetuning.windows import Window, windows

BEST = 20  # starts and ends that are tried as pairs, of each window
Row = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """How long what may be, in tokens."""

    length: int
    """A window with its question."""
    overlap: int
    """Of two windows on one context."""
    question: int
    """A question; a longer one loses its end."""
    answer: int
    """An answer."""


@dataclass(frozen=True)
class Asked:
    """One window on the context of a question."""

    row: int
    """Number of the row."""
    window: Window
    nowhere: int
    """Place in the window that means "no answer"."""

    def target(self, answer: Row | None) -> tuple[int, int]:
        """(first, last) place of the answer in this window; twice `nowhere` where it does not hold all of it."""
        if answer is not None:
            start, end = answer["start"], answer["start"] + len(answer["text"])
            offsets = self.window.offsets
            if offsets and offsets[0][0] <= start and end <= offsets[-1][1]:
                first, last = (self.window.places([(start, end)], last=side)[0] for side in (False, True))
                if first is not None and last is not None:
                    return first, last
        return self.nowhere, self.nowhere


@dataclass(frozen=True)
class Found:
    """The best answer to a question, whether or not it is given."""

    text: str
    start: int
    """First character in the context."""
    end: int
    """One past the last character."""
    difference: float
    """Score of no answer minus the score of this one."""


def pair_frame(tokenizer: Any, question: list[int], kind: Kind) -> tuple[list[int], list[int]]:
    """(ids before a context, with the question among them; ids behind it), as the tokenizer joins two texts.

    A tokenizer that puts nothing between two texts gets a line break there, and a decoder an end token behind them.
    """
    framed = list(tokenizer("a", "b")["input_ids"])
    one, other = (list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("a", "b"))
    first = _find(framed, one, 0)
    second = _find(framed, other, first + len(one))
    between = framed[first + len(one) : second] or list(encode_text(tokenizer, "\n"))
    behind = framed[second + len(other) :]
    if kind != "encoder" and not behind and tokenizer.eos_token_id is not None:
        behind = [tokenizer.eos_token_id]
    return [*framed[:first], *question, *between], behind


def _find(ids: list[int], part: list[int], start: int) -> int:
    return next((at for at in range(start, len(ids)) if ids[at : at + len(part)] == part), start)


def encode(tokenizer: Any, rows: Sequence[Row], kind: Kind, limits: Limits) -> tuple[list[Asked], int]:
    """(windows of rows with `question` and `context`, how many questions lost their end)."""
    found, cut = [], 0
    for number, row in enumerate(rows):
        question = encode_text(tokenizer, row["question"])
        cut += len(question) > limits.question
        around = pair_frame(tokenizer, question[: limits.question], kind)
        for window in windows(tokenizer, row["context"], limits.length, limits.overlap, around):
            nowhere = 0 if kind == "encoder" else len(window.input_ids) - 1
            found.append(Asked(number, window, nowhere))
    return found, cut


def inputs(model: Any, chosen: Sequence[Asked], pad: int, device: torch.device | str) -> dict[str, torch.Tensor]:
    """The model's inputs for windows: int64 [windows, longest]; token types where the model has two of them."""
    ids = [one.window.input_ids for one in chosen]
    batch = {"input_ids": pad_rows(ids, pad, device), "attention_mask": pad_masks(ids, device)}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        types = [[0] * one.window.start + [1] * (len(one.window.input_ids) - one.window.start) for one in chosen]
        batch["token_type_ids"] = pad_rows(types, 0, device)
    return batch


@torch.no_grad()
def predict(model: Any, tokenizer: Any, rows: Sequence[Row], kind: Kind, limits: Limits) -> list[Found]:
    """The best answer to each row's question, and how it compares with no answer."""
    encoded, _ = encode(tokenizer, rows, kind, limits)
    best: list[tuple[float, int, int]] = [(-np.inf, 0, 0)] * len(rows)
    nothing = [np.inf] * len(rows)
    order = sorted(range(len(encoded)), key=lambda at: len(encoded[at].window.input_ids))
    model.eval()
    for begin in range(0, len(order), BATCH):
        chosen = [encoded[at] for at in order[begin : begin + BATCH]]
        outputs = model(**inputs(model, chosen, tokenizer.pad_token_id, device_of(model)))
        sides = [values.float().cpu().numpy() for values in (outputs.start_logits, outputs.end_logits)]
        for at, one in enumerate(chosen):
            starts, ends = (values[at] for values in sides)
            nothing[one.row] = min(nothing[one.row], float(starts[one.nowhere] + ends[one.nowhere]))
            best[one.row] = max(best[one.row], _best_pair(one.window, starts, ends, limits.answer))
    return [
        Found(row["context"][start:end], start, end, empty - score)
        for row, (score, start, end), empty in zip(rows, best, nothing, strict=True)
    ]


def _best_pair(window: Window, starts: np.ndarray, ends: np.ndarray, longest: int) -> tuple[float, int, int]:
    """(score, first character, one past the last) of the best answer in a window; -inf where it has none."""
    inside = slice(window.start, window.start + len(window.offsets))
    firsts, lasts = (np.argsort(-values[inside], kind="stable")[:BEST] for values in (starts, ends))
    best = (-np.inf, 0, 0)
    for first in firsts:
        for last in lasts:
            start, end = window.offsets[first][0], window.offsets[last][1]
            if first <= last < first + longest and end > start:
                score = float(starts[inside][first] + ends[inside][last])
                best = max(best, (score, start, end))
    return best


def decide(found: Found, threshold: float | None) -> str:
    """The answer without blanks around it; empty where no answer is better by more than the threshold."""
    return "" if threshold is not None and found.difference > threshold else found.text.strip()
