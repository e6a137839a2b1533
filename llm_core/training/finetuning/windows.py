"""A text as token ids with the characters that each covers, in windows where it is longer than a model may read.

Names of control tokens inside a text stay text. Windows overlap, so that a word near the edge of one has more context
in the next; what is predicted for it is taken from the window in which it has the most.
"""

from dataclasses import dataclass
from typing import Any

from llm_core.errors import UserError
from llm_core.models.prompts import frame

Offsets = list[tuple[int, int]]


@dataclass(frozen=True)
class Window:
    """One window on a text."""

    input_ids: list[int]
    """With what comes before and behind the text: the tokenizer's own special tokens, or a question."""
    start: int
    """Place in `input_ids` of the first token of the text."""
    offsets: Offsets
    """(first character, one past the last) of each token of the text in this window."""

    def places(self, spans: Offsets, last: bool) -> list[int | None]:
        """Place in `input_ids` of the first (or `last`) token of each span of characters; None for one outside."""
        found: list[int | None] = []
        at = 0
        for start, end in spans:
            while at < len(self.offsets) and self.offsets[at][1] <= start:
                at += 1
            stop = at
            while stop < len(self.offsets) and self.offsets[stop][0] < end:
                stop += 1
            covered = [one for one in range(at, stop) if self.offsets[one][1] > self.offsets[one][0]]
            found.append(self.start + covered[-1 if last else 0] if covered else None)
        return found


def encode_offsets(tokenizer: Any, text: str) -> tuple[list[int], Offsets]:
    """(ids, characters of each) of a text without special tokens. Raises UserError for a tokenizer without offsets."""
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            "the model's tokenizer does not say which characters a token covers; a fast tokenizer is needed "
            "(tokenizer.json in the model's folder)"
        )
    found = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True, verbose=False
    )
    return list(found["input_ids"]), [(int(start), int(end)) for start, end in found["offset_mapping"]]


def windows(
    tokenizer: Any, text: str, limit: int, overlap: int, around: tuple[list[int], list[int]] | None = None
) -> list[Window]:
    """Windows of at most `limit` tokens on a text; one follows another after all but `overlap` tokens of text.

    `around` are the ids before and behind the text, by default those that the tokenizer puts around every text.
    Raises UserError where no token of text has room beside them and the overlap.
    """
    before, behind = frame(tokenizer) if around is None else around
    ids, offsets = encode_offsets(tokenizer, text)
    room = limit - len(before) - len(behind)
    if len(ids) > room and room <= overlap:
        raise UserError(
            f"max_length {limit}: no room for text beside {len(before) + len(behind)} other tokens and an overlap of "
            f"{overlap}; raise max_length or lower window_overlap"
        )
    starts = [0]
    while len(ids) - starts[-1] > room:
        starts.append(starts[-1] + room - overlap)
    return [Window([*before, *ids[at : at + room], *behind], len(before), offsets[at : at + room]) for at in starts]
