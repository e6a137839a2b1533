"""C4's rules: drop lines without punctuation or with boilerplate, then documents with too little left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from llm_core.params.quality import Rule

if TYPE_CHECKING:
    from llm_core.corpus.cleaning.quality import Judge, Judged
    from llm_core.corpus.cleaning.token_memo import Tokens, Words

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
END_MARKS = (".", "?", "!", '"', "'")


class C4(Rule):
    """C4's rules (Raffel et al. 2020): drops lines, then documents."""

    THRESHOLDS: ClassVar[dict[str, str]] = {"too_few_sentences": "min_num_sentences"}

    rule: Literal["c4"] = "c4"
    """Name of the rule."""
    remove_citations: bool = True
    """Remove citation marks such as [1], [edit] and [citation needed]."""
    filter_no_terminal_punct: bool = True
    """Drop lines that do not end in a punctuation mark."""
    min_num_sentences: int = 5
    """Minimum number of sentences left; -1 for no limit."""
    min_words_per_line: int = 3
    """Minimum number of words in a line; shorter lines are dropped."""
    max_word_length: int = 1000
    """Maximum word length in characters; lines with a longer word are dropped; -1 for no limit."""
    filter_lorem_ipsum: bool = True
    """Drop documents with "lorem ipsum"."""
    filter_javascript: bool = True
    """Drop lines that mention JavaScript."""
    filter_curly_bracket: bool = True
    """Drop documents with a curly bracket."""
    filter_policy: bool = True
    """Drop lines about cookies, terms of use and privacy policies."""

    def judge(self, words: Words) -> Judge:
        """See `Rule.judge`."""
        from llm_core.corpus.cleaning import kernels_web as web
        from llm_core.corpus.cleaning.quality import room

        limits = np.array([self.min_num_sentences, self.min_words_per_line, self.max_word_length], np.int64)
        switches = np.array(
            [
                self.remove_citations,
                self.filter_no_terminal_punct,
                self.filter_lorem_ipsum,
                self.filter_javascript,
                self.filter_curly_bracket,
                self.filter_policy,
            ]
        )

        def judge(t: Tokens) -> Judged:
            codes, scores = room(t)
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
                    reason, after = c4_slowly(before.decode(), self, words)
                    changed = after is not None and after.encode() != before
                else:  # the kept lines never have more bytes than the text
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
    from llm_core.corpus.cleaning import kernels_web as web

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


RULE = C4
