"""Exact match and F1 of answers as SQuAD's evaluation script computes them, with the threshold for "no answer".

The script's normal form removes ASCII punctuation inside words (`U.S.` is `us`) and English articles, which differs
from `answer_matching.normalize`; only this one gives figures that can be compared with published ones (Rajpurkar et al.
2016 and 2018).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(answer: str) -> str:
    """Lower case, without punctuation and articles, single spaces.

    >>> normalize("The  U.S. dollar!")
    'us dollar'
    """
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(said: str, answers: Sequence[str]) -> float:
    """1 where `said` equals one of the `answers` in normal form; no answers means that "" is right."""
    return max(float(normalize(said) == normalize(answer)) for answer in _gold(answers))


def f1(said: str, answers: Sequence[str]) -> float:
    """F1 over the words that `said` shares with the nearest of the `answers`; no answers means that "" is right."""
    return max(_f1(normalize(said).split(), normalize(answer).split()) for answer in _gold(answers))


def _f1(said: list[str], wanted: list[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted))


def _gold(answers: Sequence[str]) -> Sequence[str]:
    return [answer for answer in answers if normalize(answer)] or [""]


def best_threshold(differences: Sequence[float], scores: Sequence[float], answerable: Sequence[bool]) -> float:
    """The threshold with the largest total score: a question whose difference is larger is not answered.

    `differences` are scores of no answer minus those of the best answer, `scores` what each answer is worth if it is
    given (1 is best). Not answering is worth 1 where the question is not `answerable`, else 0.
    """
    total = float(sum(not one for one in answerable))
    best, threshold = total, min(differences) - 1.0  # nothing is answered
    order = sorted(range(len(differences)), key=lambda at: differences[at])
    for place, at in enumerate(order):
        total += scores[at] if answerable[at] else -1.0
        last = place + 1 == len(order) or differences[order[place + 1]] > differences[at]
        if last and total > best:
            best, threshold = total, differences[at]
    return threshold
