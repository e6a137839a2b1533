"""Params of retrieval and of answering with it."""

from pydantic import Field

from llm_core.params.base import Section


class Retrieval(Section):
    """How documents are cut, indexed, searched and answered from."""

    sources: list[str] | None = None
    """Sources that are indexed; null for all."""
    passage_words: int = Field(120, ge=16)
    """Length of a passage in words; a dense model of 256 tokens reads about 180."""
    overlap_words: int = Field(20, ge=0)
    """Words that a passage shares with the one before, so that no sentence is cut for good."""
    encoder: str = "packaged"
    """Sentence-embedding model: `packaged` (all-MiniLM-L6-v2 from PyPI), `none`, or a model folder (mean-pooled)."""
    k1: float = Field(1.5, gt=0)
    """BM25: how soon repeating a word stops to count."""
    b: float = Field(0.75, ge=0, le=1)
    """BM25: how much long passages are held back."""
    fusion_k: int = Field(60, ge=1)
    """Reciprocal rank fusion's constant (Cormack et al. 2009)."""
    candidates: int = Field(100, ge=1)
    """Passages that each of BM25 and dense search hands to the fusion."""
    top: int = Field(5, ge=1)
    """Passages that an answer is built from."""
    evidence: int = Field(4, ge=0)
    """Lines of those passages, nearest to the question, that the model is shown; 0 shows the passages whole."""
    relevance: float = Field(0.35, ge=-1, le=1)
    """Below this cosine similarity of the best passage `ask` refuses to answer."""
    prompt_tokens: int = Field(384, ge=32)
    """Most tokens of question and passages that the model is shown."""
    answer_tokens: int = Field(48, ge=1)
    """Most tokens of an answer."""
    pairs: int = Field(20_000, ge=1)
    """`encoder-data`: lines of passages that become pairs, on each side."""


class Agent(Section):
    """What a run of the agent may use."""

    steps: int = Field(6, ge=1)
    """Times the model is asked."""
    seconds: float = Field(120.0, gt=0)
    """Wall time of a run."""
    tokens: int = Field(20_000, ge=1)
    """Tokens read and written over a run."""
    tool_calls: int = Field(6, ge=0)
    """Tools called in a run."""
    answer_tokens: int = Field(96, ge=8)
    """Most tokens the model writes in a step."""
    passages: int = Field(2, ge=1)
    """Passages that a search quotes."""
