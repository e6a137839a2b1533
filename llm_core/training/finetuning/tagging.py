"""A tag for each word of a text, by a token classification head: words to tokens in training, and tokens to words.

The head reads a word at one of its tokens: at the first in an encoder, as BERT's authors do (arXiv:1810.04805), and
at the last in a decoder, whose first token has not seen the rest of the word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from llm_core.models.batches import pad_masks, pad_rows
from llm_core.models.family import Kind
from llm_core.models.loading import device_of
from llm_core.training.finetuning.scoring import BATCH
from llm_core.training.finetuning.windows import Offsets, Window, windows


@dataclass(frozen=True)
class Tagged:
    """One window with the words whose tag is read in it."""

    row: int
    """Number of the row."""
    window: Window
    places: list[int | None]
    """For each word of the row, the place in the window at which its tag is read."""


def encode(tokenizer: Any, rows: Sequence[dict[str, Any]], kind: Kind, limit: int, overlap: int) -> list[Tagged]:
    """The windows of rows with `text` and `words` (characters of each word)."""
    found = []
    for number, row in enumerate(rows):
        spans: Offsets = [(start, end) for start, end in row["words"]]
        for window in windows(tokenizer, row["text"], limit, overlap):
            if window.input_ids:  # none of a text that the tokenizer drops whole
                found.append(Tagged(number, window, window.places(spans, last=kind == "decoder")))
    return found


@torch.no_grad()
def predict(
    model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]], kind: Kind, limit: int, overlap: int
) -> list[np.ndarray]:
    """Probabilities of the tags of each row's words: float32 (words, tags).

    A word that no token covers (a character that the tokenizer drops) has the probabilities 1 for tag 0, which is `O`.
    """
    encoded = encode(tokenizer, rows, kind, limit, overlap)
    found = [np.zeros((len(row["words"]), model.config.num_labels), np.float32) for row in rows]
    context = [np.full(len(row["words"]), -1) for row in rows]
    for values in found:
        values[:, 0] = 1.0
    order = sorted(range(len(encoded)), key=lambda at: len(encoded[at].window.input_ids))
    model.eval()
    for start in range(0, len(order), BATCH):
        chosen = [encoded[at] for at in order[start : start + BATCH]]
        ids = [one.window.input_ids for one in chosen]
        batch = pad_rows(ids, tokenizer.pad_token_id, device_of(model))
        logits = model(input_ids=batch, attention_mask=pad_masks(ids, device_of(model))).logits.float()
        shares = torch.softmax(logits, -1).cpu().numpy()
        for one, values in zip(chosen, shares, strict=True):
            length = len(one.window.input_ids)
            for word, place in enumerate(one.places):
                if place is None:
                    continue
                seen = place if kind == "decoder" else min(place, length - 1 - place)
                if seen > context[one.row][word]:
                    context[one.row][word] = seen
                    found[one.row][word] = values[place]
    return found
