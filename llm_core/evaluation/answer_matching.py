"""When two short answers are the same: SQuAD's normal form (Rajpurkar et al. 2016), for training and for evaluation.

Words are those of `kernels/words.py`, so that vowel signs count and scripts without spaces have words, too. English
articles are left out, as in SQuAD, unless nothing else is left.
"""

from collections import Counter

from llm_core.kernels.words import normal_form, words

ARTICLES = {"a", "an", "the"}


def normalize(answer: str) -> str:
    """Lower case, no punctuation, no articles, single spaces; an answer without words stays as it is, in lower case.

    >>> normalize("The  U.S. dollar!")
    'u s dollar'
    >>> normalize("कि") == normalize("का")
    False
    """
    found = words(answer)
    kept = [word for word in found if word not in ARTICLES] or found
    return " ".join(kept or normal_form(answer).split())


def holds(text: str, *answers: str) -> bool:
    """Whether a text contains the words of one of the answers in a row; an answer without words is in no text.

    >>> holds("Capital: the Hague", "Amsterdam", "The Hague!")
    True
    """
    inside = f" {normalize(text)} "
    return any(f" {normalize(answer)} " in inside for answer in answers if words(answer))


def answer_f1(completion: str, answer: str) -> float:
    """SQuAD's F1 over words: an answer that is partly right counts in part."""
    said, wanted = normalize(completion).split(), normalize(answer).split()
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else float(said == wanted)
