"""Three search methods: by words (BM25), by meaning (dense), and both, fused by rank.

Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009) adds 1 / (k + rank) over the two
lists, so that scores of different kinds need no calibration. Ties go to the earlier passage, so that
the order is the same everywhere.
"""

from typing import Any, Literal, NamedTuple

import bm25s
import numpy as np
import numpy.typing as npt

from llm_core.errors import UserError
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.encoders import Encoder
from llm_core.retrieval.index import Index, tokenize

Method = Literal["bm25", "dense", "hybrid"]
METHODS: tuple[Method, ...] = ("bm25", "dense", "hybrid")
BLOCK = 4096  # rows converted at a time: 6 MB at 384 dimensions, which stay in the cache until they are multiplied


class Hit(NamedTuple):
    """A passage found."""

    passage: int
    """its number in the index"""
    score: float
    """BM25, cosine similarity, or the fused score"""
    similarity: float | None
    """cosine similarity with the question, where dense search ran"""


class Search:
    """Searches over an index; the encoder is loaded once, and only for dense and hybrid search."""

    def __init__(self, index: Index, params: Retrieval) -> None:
        self.index, self.params = index, params
        self._encoder: Encoder | None = None
        self._queries: dict[str, npt.NDArray[np.float32]] = {}

    def __call__(self, question: str, top: int, method: Method | None = None) -> list[Hit]:
        """The best `top` passages for a question; without a method, hybrid where the index has vectors, else BM25.

        Raises UserError for dense search in an index without vectors.
        """
        if method == "bm25" or (method is None and self.index.vectors is None):
            return [Hit(passage, score, None) for passage, score in self.bm25(question, top)]
        similar = self.similarities(question)
        if method == "dense":
            return [Hit(number, float(similar[number]), float(similar[number])) for number in _best(similar, top)]
        depth = max(top, self.params.candidates)
        lists = [[passage for passage, _ in self.bm25(question, depth)], _best(similar, depth).tolist()]
        return [Hit(number, score, float(similar[number])) for number, score in fuse(lists, self.params.fusion_k)[:top]]

    def prepare(self, questions: list[str]) -> None:
        """Embed many questions at once, so that the searches by meaning need not wait for the encoder."""
        new = [question for question in dict.fromkeys(questions) if question not in self._queries]
        if new and self.index.vectors is not None:
            self._queries |= zip(new, self.encoder(new), strict=True)

    def rank(self, question: str, texts: list[str]) -> list[int]:
        """Places of `texts`, the nearest to the question first: by meaning, or by BM25 where there is no encoder."""
        if self.index.vectors is not None:
            self.prepare([question])
            scores = self.encoder(texts) @ self._queries[question]
        else:
            small = bm25s.BM25(k1=self.params.k1, b=self.params.b, method="lucene")
            small.index(tokenize(texts), show_progress=False)
            words = [word for word in tokenize([question]).vocab if word in small.vocab_dict]
            scores = small.get_scores(words) if words else np.zeros(len(texts))
        return [int(place) for place in np.lexsort((np.arange(len(texts)), -scores))]

    @property
    def encoder(self) -> Encoder:
        """The index's encoder, loaded when it is first needed."""
        if self._encoder is None:
            self._encoder = Encoder(self.index.encoder_name)
        return self._encoder

    def bm25(self, question: str, top: int) -> list[tuple[int, float]]:
        """(passage, score) by BM25, best first; only passages that share a word with the question."""
        words = tokenize([question])
        if not words.vocab:
            return []
        found: Any = self.index.sparse.retrieve(words, k=min(top, len(self.index)), show_progress=False)
        pairs = zip(found.documents[0].tolist(), found.scores[0].tolist(), strict=True)
        return sorted(((number, score) for number, score in pairs if score > 0), key=lambda pair: (-pair[1], pair[0]))

    def similarities(self, question: str) -> npt.NDArray[np.float32]:
        """Cosine similarity of the question with every passage: float32 [passages]."""
        vectors = self.index.vectors
        if vectors is None:
            raise UserError(f"{self.index.folder}: has no vectors (retrieval.encoder was none); search it with bm25")
        self.prepare([question])
        return products(vectors, self._queries[question])


def products(vectors: npt.NDArray[np.float16], query: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scalar product of each row of `vectors` [passages, dimensions] with `query` in float32: [passages].

    torch converts float16 with vector instructions, NumPy one number at a time, which is nine tenths of the time.
    """
    import torch

    found = np.empty(len(vectors), np.float32)
    wide = torch.empty((min(BLOCK, len(vectors)), vectors.shape[1]), device="cpu")
    for at in range(0, len(vectors), BLOCK):
        rows = torch.from_numpy(vectors[at : at + BLOCK])
        found[at : at + BLOCK] = wide[: len(rows)].copy_(rows).numpy() @ query
    return found


def fuse(rankings: list[list[int]], k: int) -> list[tuple[int, float]]:
    """Reciprocal rank fusion of rankings (best first): (passage, score), best first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            scores[passage] = scores.get(passage, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def _best(scores: npt.NDArray[np.float32], top: int) -> npt.NDArray[np.int64]:
    """Numbers of the `top` highest scores, best first, ties by number."""
    top = min(top, len(scores))
    if top == 0:
        return np.zeros(0, np.int64)
    threshold = np.partition(scores, -top)[-top]
    candidates = np.flatnonzero(scores >= threshold)
    order = np.lexsort((candidates, -scores[candidates]))
    return candidates[order][:top].astype(np.int64)
