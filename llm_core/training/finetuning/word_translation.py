"""A translation word by word: the classical baseline, learned from pairs of sentences by IBM model 1.

Brown et al. 1993, "The Mathematics of Statistical Machine Translation": each target word is produced by one source
word of its sentence, each as likely; expectation maximization gives p(target word | source word). A source word is
then written as its likeliest target word. Order, and everything that is no word, stays as in the source.
"""

from collections.abc import Sequence

import numpy as np
import regex

from llm_core.kernels.words import UNSPACED

LETTERS = rf"[[\w\p{{M}}]--[{UNSPACED}]]+"
WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*|{LETTERS}(?:['’]{LETTERS})*", regex.V1)
"""a word in its text; of scripts without spaces a letter with its marks, as in `kernels/words.py`"""
ITERATIONS = 5
LONGEST = 64  # words of a sentence that are read


def dictionary(sources: Sequence[str], targets: Sequence[str]) -> dict[str, str]:
    """Source word -> its likeliest target word (ties: the first in the alphabet), from aligned texts."""
    known: tuple[dict[str, int], dict[str, int]] = ({}, {})
    sentences = [
        [[index.setdefault(word, len(index)) for word in WORD.findall(text)[:LONGEST]] for index, text in pair]
        for pair in (zip(known, texts, strict=True) for texts in zip(sources, targets, strict=True))
    ]
    from_, to, position = [], [], []
    at = 0
    for source, target in sentences:
        for word in target if source else ():
            from_ += source
            to += [word] * len(source)
            position += [at] * len(source)
            at += 1
    if not to:
        return {}
    pairs, of = np.unique(np.stack([from_, to]), axis=1, return_inverse=True)
    places = np.asarray(position)
    of = of.reshape(-1)
    odds = np.ones(pairs.shape[1])
    for _ in range(ITERATIONS):
        weights = odds[of]
        weights /= np.bincount(places, weights)[places]
        counts = np.bincount(of, weights, pairs.shape[1])
        odds = counts / np.bincount(pairs[0], counts)[pairs[0]]
    words = [list(index) for index in known]
    best: dict[str, tuple[float, str]] = {}
    for source, target, share in zip(*pairs.tolist(), odds.tolist(), strict=True):
        offered = (-share, words[1][target])
        if offered < best.get(words[0][source], (1.0, "")):
            best[words[0][source]] = offered
    return {source: target for source, (_, target) in best.items()}


def translate(text: str, words: dict[str, str]) -> str:
    """`text` with each word of the dictionary translated; the others stay.

    >>> translate("Haue I, thy loue?", {"Haue": "Have", "loue": "love"})
    'Have I, thy love?'
    """
    return WORD.sub(lambda match: words.get(match[0], match[0]), text)
