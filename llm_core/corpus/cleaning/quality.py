"""Quality rules as steps: a recipe is a sequence of rules, each judging what the rules before it kept.

Recipes are named in params (`cleaning.recipes`); the published ones are built in: gopher_quality, gopher_repetition,
c4, fineweb_quality, and `fineweb`, the whole sequence behind the FineWeb data set. The rules are in `rules/`, one
module each. Verdict and reason are datatrove's on the same document (benchmarks/cleaning.py compares them on
thousands). Rules work on arrays over many documents at once; documents go through in groups of half a megabyte, which
the processor's cache holds.

The published rules are for English: their word counts come from spaCy's English tokenizer, which takes a Chinese text
for one word, and their stop words are English. A rule judges documents in its own language (`language`) only; what
happens to the others is set by `cleaning.other_languages`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from llm_core.corpus.cleaning.batch import Batch
from llm_core.corpus.cleaning.token_memo import Tokens, join, shared_words
from llm_core.kernels.arrays import Floats, Ints
from llm_core.params.languages import known_code
from llm_core.params.quality import Rule

GROUP_BYTES = 1 << 19
SNIFFED = 2000  # characters whose script is looked at in a document of unknown language
Verdict = tuple[str | None, float, str | None]  # reason (None: kept), figure, the new text if the rule changed it
Judged = tuple[list[str | None], Floats, list[str | None] | None]  # reasons, figures, changed texts if any
Judge = Callable[[Tokens], Judged]


class QualityStep:
    """Judges documents by a recipe."""

    def __init__(
        self, name: str, rules: Sequence[Rule], memo_entries: int, exempt: Sequence[str] = (), others: str = "pass"
    ) -> None:
        self.name, self.exempt, self.others = name, frozenset(exempt), others
        self.words = shared_words(memo_entries)
        self.languages = [None if others == "judge" else rule.language for rule in rules]
        self.judges = [rule.judge(self.words) for rule in rules]
        self.notes = [rule.NOTE for rule in rules]

    def __call__(self, batch: Batch) -> None:
        """Judge the living documents that are not exempt, each by the rules for its language."""
        by_rules: dict[tuple[bool, ...], list[int]] = {}
        for row in batch.alive():
            if batch.sources[row] not in self.exempt:
                speaks = {language: _speaks(language, batch, row) for language in set(self.languages)}
                by_rules.setdefault(tuple(map(speaks.__getitem__, self.languages)), []).append(row)
        for mine, chosen in by_rules.items():
            if not all(mine):
                for row in chosen:
                    batch.tallies[batch.sources[row], f"{self.name}_other_language"] += 1
                    if self.others == "drop":
                        batch.drop(row, "other_language")
                if self.others == "drop" or not any(mine):
                    continue
            for rows in _groups(batch, chosen):
                notes: list[dict[str, float]] = [{} for _ in rows]
                verdicts = self.judge([batch.texts[row] for row in rows], mine, notes)
                for row, noted in zip(rows, notes, strict=True):
                    if noted:
                        batch.update_metadata(row, **noted)
                        batch.scores[row] = next(reversed(noted.values()))  # in the ledger of what is kept, too
                for row, (reason, score, text) in zip(rows, verdicts, strict=True):
                    if text is not None:
                        batch.change(row, text, self.name)
                    if reason:
                        batch.drop(row, reason, None if np.isnan(score) else score)

    def judge(
        self, texts: list[str], chosen: Sequence[bool] | None = None, notes: list[dict[str, float]] | None = None
    ) -> list[Verdict]:
        """Reason, figure and changed text of each text, by all rules or those chosen, whatever its language.

        The figures that rules have noted with each document are added to `notes` [texts].
        """
        verdicts: list[Verdict] = [(None, np.nan, None)] * len(texts)
        rows = list(range(len(texts)))
        tokens: Tokens | None = None
        for place, judge in enumerate(self.judges):
            if chosen and not chosen[place]:
                continue
            if not rows:
                break
            if tokens is None:
                current = [text if text is not None else texts[row] for row in rows for text in [verdicts[row][2]]]
                tokens = self.words.tokens(*join(current))
            reasons, scores, changed = judge(tokens)
            name = self.notes[place]
            if name and notes is not None:
                for row, score in zip(rows, scores.tolist(), strict=True):
                    if np.isfinite(score):
                        notes[row][name] = float(f"{score:.6g}")
            kept: list[int] = []
            for index, row in enumerate(rows):
                if reasons[index]:
                    verdicts[row] = (reasons[index], scores[index], verdicts[row][2])
                else:
                    kept.append(row)
                    if changed and changed[index] is not None:
                        verdicts[row] = (None, np.nan, changed[index])
            if len(kept) < len(rows) or changed:
                tokens = (
                    None
                    if changed or not kept
                    else tokens.take([index for index, reason in enumerate(reasons) if not reason])
                )
            rows = kept
        return verdicts


def _groups(batch: Batch, chosen: list[int]) -> Iterator[list[int]]:
    rows: list[int] = []
    size = 0
    for row in chosen:
        rows.append(row)
        size += len(batch.texts[row])
        if size >= GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _speaks(language: str | None, batch: Batch, row: int) -> bool:
    """Whether a document is in a language; None means any.

    Where no source declares the language and no step `language` found it, a text counts as English unless most of its
    letters are of another script than Latin.
    """
    found = batch.languages[row]
    if language is None or (found is not None and found != "und"):
        return language is None or known_code(found or "") == language
    text = batch.texts[row]
    if text.isascii() or language != "en":
        return True
    letters = [char for char in text[:SNIFFED] if char.isalpha()]
    return 2 * sum(char < "\u0250" or "\u1e00" <= char <= "\u1eff" for char in letters) >= len(letters)


def room(t: Tokens) -> tuple[Ints, Floats]:
    """Arrays that a kernel writes to: codes, int64 [documents], 0 for kept; figures, float64 [documents], NaN."""
    return np.zeros(len(t.bounds) - 1, np.int64), np.full(len(t.bounds) - 1, np.nan)
