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


def holds(text: str, *answers: str) -> bool:
    """Whether the words of one of the answers stand in a text; an answer without words stands in none.

    >>> holds("Capital: the Hague", "Amsterdam", "The Hague!")
    True
    """
    words = f" {normalize(text)} "
    return any(f" {wanted} " in words for wanted in map(normalize, answers) if wanted)


def answer_f1(completion: str, answer: str) -> float:
    """SQuAD's F1 over words: what is partly right counts in part."""
    said, wanted = normalize(completion).split(), normalize(answer).split()
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else float(said == wanted)
