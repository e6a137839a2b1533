"""When two short answers are the same: SQuAD's normal form (Rajpurkar et al. 2016), for training and for evaluation."""

import re

ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize(answer: str) -> str:
    """Lower case, no punctuation, no articles, single spaces.

    >>> normalize("The  U.S. dollar!")
    'u s dollar'
    """
    return " ".join(ARTICLES.sub(" ", re.sub(r"[^\w\s]", " ", answer.lower())).split())
