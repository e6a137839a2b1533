"""When two short answers are the same: SQuAD's normal form (Rajpurkar et al. 2016), for training and for evaluation."""

import re
from collections import Counter

ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize(answer: str) -> str:
    """Lower case, no punctuation, no articles, single spaces.

    >>> normalize("The  U.S. dollar!")
    'u s dollar'
    """
    return " ".join(ARTICLES.sub(" ", re.sub(r"[^\w\s]", " ", answer.lower())).split())


def answer_f1(completion: str, answer: str) -> float:
    """SQuAD's F1 over words: what is partly right counts in part."""
    said, wanted = normalize(completion).split(), normalize(answer).split()
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else float(said == wanted)
