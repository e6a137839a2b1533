"""An n-gram model of the same tokens, as a baseline of bits per byte: interpolated Kneser-Ney.

Kneser and Ney 1995; Chen and Goodman 1999, with one discount an order, n1 / (n1 + 2 n2). The highest order counts
occurrences; a lower one counts how many different tokens precede an n-gram, because it is only asked where the
higher order has not seen enough. KenLM has no wheel and builds with CMake; nltk's class keeps counts in dictionaries
and takes seconds for a few thousand tokens. Here counts are sorted arrays: an n-gram's number is the rank of (number of
its first n - 1 tokens, last token), so that the same search finds it when a text is scored.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class _Order(NamedTuple):
    """What an n-gram model knows of one order."""

    keys: Numbers
    """[grams], sorted: number of the context (an n-gram of the order below) times the vocabulary, plus the token"""
    discounted: Floats
    """[grams]: count without the discount, divided by the context's count"""
    rest: Floats
    """[contexts]: share of the probability that is left to the order below; 1 for a context without a count"""


class NgramModel:
    """Interpolated Kneser-Ney over token ids; an n-gram does not reach into the document before."""

    def __init__(self, documents: Sequence[Sequence[int]], order: int, vocabulary: int) -> None:
        """`documents` begin with a token that is given and not predicted. `vocabulary`: number of possible tokens."""
        self.order, self.vocabulary = order, vocabulary
        tokens, predicted = self._padded(documents)
        numbers = [np.zeros(len(tokens), np.int64)]  # of the k-gram that ends at each place
        keys: list[Numbers] = []
        first: list[Numbers] = []
        for _ in range(order):
            context = np.concatenate([numbers[-1][:1], numbers[-1][:-1]])
            found, places, number = np.unique(context * vocabulary + tokens, return_index=True, return_inverse=True)
            keys.append(found)
            first.append(places)
            numbers.append(number.reshape(-1))
        self._orders: list[_Order] = []
        counts = np.bincount(numbers[order][predicted], minlength=len(keys[-1]))
        for k in range(order, 0, -1):
            contexts = 1 if k == 1 else len(keys[k - 2])
            self._orders.insert(0, _order(keys[k - 1], counts, contexts, vocabulary))
            if k > 1:  # different tokens before each n-gram of the order below
                seen = first[k - 1][counts > 0]
                counts = np.bincount(numbers[k - 1][seen], minlength=len(keys[k - 2]))

    def bits(self, document: Sequence[int]) -> Floats:
        """-log2 of the probability of each token of `document` but the first, [tokens - 1]."""
        tokens, predicted = self._padded([document])
        before = np.zeros(len(tokens), np.int64)
        odds = np.full(len(tokens), 1 / self.vocabulary)
        for known in self._orders:
            context = np.concatenate([before[:1], before[:-1]])
            wanted = context * self.vocabulary + tokens
            place = np.minimum(np.searchsorted(known.keys, wanted), len(known.keys) - 1)
            hit = (context >= 0) & (known.keys[place] == wanted)
            odds = np.where(context >= 0, known.rest[context], 1.0) * odds + np.where(hit, known.discounted[place], 0.0)
            before = np.where(hit, place, -1)
        bits: Floats = -np.log2(odds[predicted])
        return bits

    def _padded(self, documents: Sequence[Sequence[int]]) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """(token ids of all documents, which of them are predicted); the first token is there `order - 1` times."""
        parts, given = [], max(self.order - 1, 1)
        for document in documents:
            parts.append(np.concatenate([np.repeat(np.int64(document[0]), given), np.asarray(document[1:], np.int64)]))
        predicted = [np.arange(len(part)) >= given for part in parts]
        return np.concatenate(parts), np.concatenate(predicted)


def _order(keys: Numbers, counts: Numbers, contexts: int, vocabulary: int) -> _Order:
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once else 0.5
    of = keys // vocabulary
    totals = np.bincount(of, counts, contexts)
    different = np.bincount(of[counts > 0], minlength=contexts)
    with np.errstate(divide="ignore", invalid="ignore"):
        discounted = np.where(counts > 0, np.maximum(counts - discount, 0) / totals[of], 0.0)
        rest = np.where(totals > 0, discount * different / totals, 1.0)
    return _Order(keys, discounted, rest)
