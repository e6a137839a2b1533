"""An n-gram model of token ids, interpolated Kneser-Ney: a baseline in evaluation, a perplexity score in cleaning.

Kneser and Ney 1995; Chen and Goodman 1999, with one discount an order, n1 / (n1 + 2 n2). The highest order counts
occurrences; a lower one counts how many different tokens precede an n-gram, because it is only asked where the
higher order has not seen enough. KenLM has no wheel and builds with CMake; nltk's class keeps counts in dictionaries
and takes seconds for a few thousand tokens. Here counts are sorted arrays: an n-gram's number is the rank of (number of
its first n - 1 tokens, last token), so that the n-grams of one context lie together and a search among them finds the
next one (the trie of Heafield 2011). Two arrays of tokens and bounds hold many sequences: sequence i is
`tokens[bounds[i]:bounds[i + 1]]`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from llm_core.kernels.arrays import Flags, Floats, Ints, Small
from llm_core.runtime.compilation import njit


class Grams(NamedTuple):
    """What an n-gram model knows: its arrays, those of the order 1, 2, … one after the other."""

    begins: Ints
    """int64 [orders + 1]: where the n-grams of each order begin, and the number of all"""
    contexts: Ints
    """int64 [orders + 1]: where the contexts of each order begin, and the number of all; a context of an order is an
    n-gram of the order below, that of order 1 is empty"""
    tokens: Small
    """int32 [grams]: last token of each n-gram, sorted by context, then by token"""
    starts: Ints
    """int64 [contexts + 1]: the first n-gram of each context, and the number of all"""
    discounted: Floats
    """float64 [grams]: count without the discount, divided by the context's count"""
    rest: Floats
    """float64 [contexts]: share of the probability that is left to the order below; 1 for a context without a count"""

    def check(self) -> None:
        """Raise ValueError where an array does not fit the others: compiled code would read beyond its end."""
        kinds = (np.int64, np.int64, np.int32, np.int64, np.float64, np.float64)
        arrays: tuple[Any, ...] = self
        if any(array.dtype != kind or array.ndim != 1 for array, kind in zip(arrays, kinds, strict=True)):
            raise ValueError("an array has another type")
        sizes, above = np.diff(self.begins), np.diff(self.contexts)
        grams, contexts = len(self.tokens), len(self.rest)
        whole = (
            len(sizes) == len(above) > 0
            and self.begins[0] == self.contexts[0] == 0
            and (sizes >= 0).all()
            and above.tolist() == [1, *sizes[:-1].tolist()]
            and self.begins[-1] == len(self.discounted) == grams
            and self.contexts[-1] == contexts == len(self.starts) - 1
            and (self.starts[self.contexts] == self.begins).all()
            and (self.starts[1:] >= self.starts[:-1]).all()
        )
        if not whole:
            raise ValueError("its arrays do not belong together")


class _Order(NamedTuple):
    """The arrays of one order, as `Grams` has them, with positions that begin at 0."""

    tokens: Small
    starts: Ints
    discounted: Floats
    rest: Floats


class NgramModel:
    """Interpolated Kneser-Ney over token ids; an n-gram does not reach into the sequence before."""

    def __init__(self, grams: Grams, vocabulary: int) -> None:
        """`grams`: arrays in memory or mapped from a file. `vocabulary`: number of possible tokens."""
        self.grams, self.vocabulary = grams, vocabulary

    @property
    def order(self) -> int:
        """Tokens of the longest n-grams."""
        return len(self.grams.begins) - 1

    @classmethod
    def count(cls, tokens: Ints | Small, bounds: Ints, order: int, vocabulary: int) -> Self:
        """Count sequences, each of which begins with a token that is given and not predicted."""
        tokens, predicted = _padded(tokens, bounds, order)
        numbers = [np.zeros(len(tokens), np.int64)]  # of the k-gram that ends at each place
        keys: list[Ints] = []
        first: list[Ints] = []
        for _ in range(order):
            context = np.concatenate([numbers[-1][:1], numbers[-1][:-1]])
            found, places, number = np.unique(context * vocabulary + tokens, return_index=True, return_inverse=True)
            keys.append(found)
            first.append(places)
            numbers.append(number.reshape(-1))
        orders: list[_Order] = []
        counts = np.bincount(numbers[order][predicted], minlength=len(keys[-1]))
        for k in range(order, 0, -1):
            contexts = 1 if k == 1 else len(keys[k - 2])
            orders.insert(0, _order(keys[k - 1], counts, contexts, vocabulary))
            if k > 1:  # different tokens before each n-gram of the order below
                seen = first[k - 1][counts > 0]
                counts = np.bincount(numbers[k - 1][seen], minlength=len(keys[k - 2]))
        return cls(_joined(orders), vocabulary)

    @classmethod
    def of(cls, documents: Sequence[Sequence[int]], order: int, vocabulary: int) -> Self:
        """`count` for sequences of any kind."""
        bounds = np.cumsum([0, *map(len, documents)])
        return cls.count(np.concatenate([np.asarray(ids, np.int64) for ids in documents]), bounds, order, vocabulary)

    def bits(self, tokens: Sequence[int]) -> Floats:
        """-log2 of the probability of each token of a sequence but the first, [tokens - 1]."""
        return self.bits_of(np.asarray(tokens, np.int32), np.array([0, len(tokens)]))[1:]

    def bits_of(self, tokens: Small, bounds: Ints) -> Floats:
        """-log2 of the probability of each token of many sequences, float64 [tokens]; 0 for the first of each.

        It takes time in proportion to the tokens, times the logarithm of the tokens that may follow a context.
        """
        return _bits(tokens, bounds, *self.grams, self.vocabulary)  # type: ignore[no-any-return]


def _joined(orders: Sequence[_Order]) -> Grams:
    begins = np.cumsum([0, *(len(order.tokens) for order in orders)])
    contexts = np.cumsum([0, *(len(order.rest) for order in orders)])
    starts = [order.starts[:-1] + begin for order, begin in zip(orders, begins, strict=False)]
    return Grams(
        begins, contexts, np.concatenate([order.tokens for order in orders]),
        np.concatenate([*starts, begins[-1:]]), np.concatenate([order.discounted for order in orders]),
        np.concatenate([order.rest for order in orders]),
    )  # fmt: skip


def _padded(tokens: Ints | Small, bounds: Ints, order: int) -> tuple[Ints, Flags]:
    """(tokens, which of them are predicted), the first token of each sequence `order - 1` times, at least once."""
    times, given = np.ones(len(tokens), np.int64), np.zeros(len(tokens), np.bool_)
    times[bounds[:-1]], given[bounds[:-1]] = max(order - 1, 1), True
    return np.repeat(tokens, times).astype(np.int64), ~np.repeat(given, times)


def _order(keys: Ints, counts: Ints, contexts: int, vocabulary: int) -> _Order:
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once else 0.5
    of = keys // vocabulary
    totals = np.bincount(of, counts, contexts)
    different = np.bincount(of[counts > 0], minlength=contexts)
    with np.errstate(divide="ignore", invalid="ignore"):
        discounted = np.where(counts > 0, np.maximum(counts - discount, 0) / totals[of], 0.0)
        rest = np.where(totals > 0, discount * different / totals, 1.0)
    starts = np.searchsorted(of, np.arange(contexts + 1))
    return _Order((keys % vocabulary).astype(np.int32), starts, discounted, rest)


@njit(nogil=True)
def _bits(
    tokens: Small, bounds: Ints, begins: Ints, contexts: Ints, grams: Small, starts: Ints, discounted: Floats,
    rest: Floats, vocabulary: int,
) -> Floats:  # fmt: skip
    """See `NgramModel.bits_of` and `Grams`."""
    order = len(begins) - 1
    out = np.zeros(len(tokens), np.float64)
    numbers = np.empty(order + 1, np.int64)  # of the k-gram that ends at the place before; -1 for one not seen
    for sequence in range(len(bounds) - 1):
        numbers[0], numbers[1:] = 0, -1
        for place in range(bounds[sequence], bounds[sequence + 1]):
            token, first = tokens[place], place == bounds[sequence]
            for _ in range(max(order - 1, 1) if first else 1):
                odds, before, seen = 1 / vocabulary, np.int64(0), True
                for k in range(order):
                    context, number = numbers[k], np.int64(-1)
                    if context >= 0:
                        row = contexts[k] + context
                        odds *= rest[row]
                        if seen:  # otherwise the shorter n-gram was not, so this one was not either
                            low, end = starts[row], starts[row + 1]
                            high = end
                            while low < high:
                                middle = (low + high) >> 1
                                if grams[middle] < token:
                                    low = middle + 1
                                else:
                                    high = middle
                            if low < end and grams[low] == token:
                                odds += discounted[low]
                                number = low - begins[k]
                    seen = bool(number >= 0)
                    numbers[k], before = before, number
                numbers[order] = before
            if not first:
                out[place] = -np.log2(odds)
    return out
