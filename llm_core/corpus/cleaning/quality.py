"""Quality rules as steps: a recipe is a sequence of rules, each judging what the rules before it kept.

Recipes are named in params (`cleaning.recipes`); the published ones are built in: gopher_quality, gopher_repetition,
c4, fineweb_quality, and `fineweb`, the whole sequence behind the FineWeb data set. Verdict and reason are datatrove's
on the same document (benchmarks/cleaning.py compares them on thousands). Rules work on arrays over many documents at
once; documents go through in groups of half a megabyte, which the processor's cache holds.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from llm_core.corpus.cleaning import kernels_gopher as gopher
from llm_core.corpus.cleaning import kernels_web as web
from llm_core.corpus.cleaning.batch import Batch
from llm_core.corpus.cleaning.characters import TERMINAL_PUNCTUATION
from llm_core.corpus.cleaning.token_memo import Tokens, Words, hash_token, join, shared_words
from llm_core.params.quality import C4, FineWebQuality, GopherQuality, GopherRepetition, Rule

GROUP_BYTES = 1 << 19
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
END_MARKS = (".", "?", "!", '"', "'")
Verdict = tuple[str | None, float, str | None]  # reason (None: kept), figure, the text where the rule changed it


class QualityStep:
    """Judges documents by a recipe."""

    def __init__(self, name: str, rules: Sequence[Rule], memo_entries: int, exempt: Sequence[str] = ()) -> None:
        self.name, self.exempt = name, frozenset(exempt)
        self.words = shared_words(memo_entries)
        self.judges = [JUDGES[rule.rule](rule, self.words) for rule in rules]

    def __call__(self, batch: Batch) -> None:
        """Judge the living documents."""
        for rows in _groups(batch, self.exempt):
            verdicts = self.judge([batch.texts[row] for row in rows])
            for row, (reason, score, text) in zip(rows, verdicts, strict=True):
                if text is not None:
                    batch.change(row, text, self.name)
                if reason:
                    batch.drop(row, reason, None if np.isnan(score) else score)

    def judge(self, texts: list[str]) -> list[Verdict]:
        """Reason, figure and changed text of each text."""
        verdicts: list[Verdict] = [(None, np.nan, None)] * len(texts)
        rows = list(range(len(texts)))
        tokens: Tokens | None = None
        for judge in self.judges:
            if not rows:
                break
            if tokens is None:
                current = [text if text is not None else texts[row] for row in rows for text in [verdicts[row][2]]]
                tokens = self.words.tokens(*join(current))
            reasons, scores, changed = judge(tokens)
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


def _groups(batch: Batch, exempt: frozenset[str]) -> Iterator[list[int]]:
    rows: list[int] = []
    size = 0
    for row in batch.alive():
        if batch.sources[row] in exempt:
            continue
        rows.append(row)
        size += len(batch.texts[row])
        if size >= GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


Judged = tuple[list[str | None], np.ndarray, list[str | None] | None]
Judge = Callable[[Tokens], Judged]


def _gopher_quality(rule: GopherQuality, words: Words) -> Judge:
    names = (
        "min_doc_words",
        "max_doc_words",
        "min_avg_word_length",
        "max_avg_word_length",
        "max_symbol_word_ratio",
        "max_bullet_lines_ratio",
        "max_ellipsis_lines_ratio",
        "max_non_alpha_words_ratio",
        "min_stop_words",
    )
    limits = np.array([getattr(rule, name) or 0 for name in names], np.float64)
    stop_words = np.array([hash_token(word) for word in dict.fromkeys(rule.stop_words)], np.uint64)

    def judge(t: Tokens) -> Judged:
        codes, scores = _room(t)
        gopher.judge_quality(
            t.data, t.bounds, t.chunks, t.first, t.hashes, t.lengths, t.flags, limits, stop_words, codes, scores
        )
        return [gopher.QUALITY_REASONS[code - 1] if code else None for code in codes.tolist()], scores, None

    return judge


def _gopher_repetition(rule: GopherRepetition, words: Words) -> Judge:
    names = ("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac")
    limits = np.array([getattr(rule, name) or 0 for name in names], np.float64)
    top = np.array(rule.top_n_grams, np.float64).reshape(-1, 2)
    duplicated = np.array(rule.dup_n_grams, np.float64).reshape(-1, 2)

    def reason(code: int) -> str | None:
        if code > gopher.DUPLICATED:
            return f"duplicated_{code - gopher.DUPLICATED}_n_grams"
        if code > gopher.TOP:
            return f"top_{code - gopher.TOP}_gram"
        return gopher.REPETITION_REASONS[code - 1] if code else None

    def judge(t: Tokens) -> Judged:
        codes, scores = _room(t)
        gopher.judge_repetition(
            t.data, t.bounds, t.chunks, t.first, t.hashes, t.lengths, limits, top, duplicated, codes, scores
        )
        return [reason(code) for code in codes.tolist()], scores, None

    return judge


def _c4(rule: C4, words: Words) -> Judge:
    limits = np.array([rule.min_num_sentences, rule.min_words_per_line, rule.max_word_length], np.int64)
    switches = np.array(
        [
            rule.remove_citations,
            rule.filter_no_terminal_punct,
            rule.filter_lorem_ipsum,
            rule.filter_javascript,
            rule.filter_curly_bracket,
            rule.filter_policy,
        ]
    )

    def judge(t: Tokens) -> Judged:
        codes, scores = _room(t)
        kept, bounds = np.empty(len(t.data), np.uint8), np.zeros(len(t.bounds), np.int64)
        web.judge_c4(
            t.data,
            t.bounds,
            t.starts,
            t.ends,
            t.chunks,
            t.first,
            t.flags,
            limits,
            switches,
            codes,
            scores,
            kept,
            bounds,
        )
        reasons: list[str | None] = []
        texts: list[str | None] = []
        for number, code in enumerate(codes.tolist()):
            if code and code != web.ASK:
                reasons.append(web.C4_REASONS[code - 1])
                texts.append(None)
                continue
            before = t.data[t.bounds[number] : t.bounds[number + 1]].tobytes()
            if code == web.ASK:
                reason, after = c4_slowly(before.decode(), rule, words)
                changed = after is not None and after.encode() != before
            else:  # the kept lines are never more bytes than the text
                lines = kept[bounds[number] : bounds[number + 1]].tobytes()
                whole = lines.decode()
                reason, after = None, whole.strip()
                changed = lines != before or len(after) != len(whole)
            reasons.append(reason)
            texts.append(after if changed else None)
        return reasons, scores, texts

    return judge


def c4_slowly(text: str, rule: C4, words: Words) -> tuple[str | None, str | None]:
    """(reason, None) or (None, text afterwards): the rule on strings, for what the kernel cannot decide by bytes."""
    kept: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        chunks = line.split()
        if rule.max_word_length != -1 and max(map(len, chunks), default=0) > rule.max_word_length:
            continue
        if rule.remove_citations:
            line = CITATION.sub("", line)
        if rule.filter_no_terminal_punct and (not line.endswith(END_MARKS) or line.endswith("...")):
            continue
        if len(chunks) < rule.min_words_per_line:
            continue
        lower = line.lower()
        if rule.filter_lorem_ipsum and "lorem ipsum" in lower:
            return "lorem_ipsum", None
        if rule.filter_javascript and "javascript" in lower:
            continue
        if rule.filter_curly_bracket and "{" in line:
            return "curly_bracket", None
        if rule.filter_policy and any(policy in lower for policy in web.POLICIES):
            continue
        kept.append(line)
    if rule.min_num_sentences != -1 and words.sentences(kept) < rule.min_num_sentences:
        return "too_few_sentences", None
    return None, "\n".join(kept).strip()


def _fineweb(rule: FineWebQuality, words: Words) -> Judge:
    limits = np.array(
        [
            rule.line_punct_thr,
            rule.short_line_thr,
            rule.short_line_length,
            rule.char_duplicates_ratio,
            rule.new_line_ratio,
        ],
        np.float64,
    )
    marks = np.array(sorted(map(ord, rule.stop_chars or TERMINAL_PUNCTUATION)), np.int32)

    def judge(t: Tokens) -> Judged:
        codes, scores = _room(t)
        web.judge_fineweb(
            t.data, t.bounds, t.chunks, t.first, limits, rule.line_punct_exclude_zero, marks, codes, scores
        )
        return [web.FINEWEB_REASONS[code - 1] if code else None for code in codes.tolist()], scores, None

    return judge


def _room(t: Tokens) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(len(t.bounds) - 1, np.int64), np.full(len(t.bounds) - 1, np.nan)


JUDGES: dict[str, Callable[..., Judge]] = {
    "gopher_quality": _gopher_quality,
    "gopher_repetition": _gopher_repetition,
    "c4": _c4,
    "fineweb_quality": _fineweb,
}
