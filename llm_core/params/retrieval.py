"""Params of retrieval and of answering with it."""

from pydantic import Field

from llm_core.params.base import Section


class Questions(Section):
    """Questions with known answers, and the model that answers them."""

    path: str = Field(min_length=1)
    """A file: SQuAD's JSON, JSONL of `question, answers`, or rows of the method instruction, for example
    data/finetuning/NAME/test.jsonl."""
    model: str = "base"
    """Folder under data/models of the model that answers with retrieval and without: `base`, a finetune, or a model of
    `open_models`."""


class Retrieval(Section):
    """How documents are cut, indexed, searched and answered from."""

    sources: list[str] | None = None
    """Sources that are indexed; null for all."""
    passage_words: int = Field(120, ge=16)
    """Length of a passage in words; a dense model of 256 tokens reads about 180."""
    overlap_words: int = Field(20, ge=0)
    """Number of words that a passage shares with the one before, so that fewer sentences are cut."""
    encoder: str = "packaged"
    """Sentence-embedding model: `packaged` (all-MiniLM-L6-v2 from PyPI), `none`, or a model folder (mean-pooled)."""
    k1: float = Field(1.5, gt=0)
    """BM25: saturation of a word's frequency; with a larger value more repetitions count."""
    b: float = Field(0.75, ge=0, le=1)
    """BM25: strength of the normalisation by passage length; 0 for none."""
    fusion_k: int = Field(60, ge=1)
    """Constant k of reciprocal rank fusion (Cormack et al. 2009)."""
    candidates: int = Field(100, ge=1)
    """Number of passages that BM25 and dense search each pass to the fusion."""
    top: int = Field(5, ge=1)
    """Number of passages that an answer is built from."""
    evidence: int = Field(4, ge=0)
    """Number of lines of the found passages, the nearest to the question, that the model reads; 0 gives it the whole
    passages."""
    relevance: float = Field(0.35, ge=-1, le=1)
    """Minimum cosine similarity of the best passage to the question; below it `ask` refuses to answer."""
    prompt_tokens: int = Field(384, ge=32)
    """Maximum number of tokens of question and passages that the model reads."""
    answer_tokens: int = Field(48, ge=1)
    """Maximum length of an answer in tokens."""
    questions: dict[str, Questions] = Field(default_factory=dict)
    """Sets of questions on which experiments/retrieval/dvc.yaml measures search and answers, by name: each is a stage
    `evaluate-retrieval@NAME`, which writes data/retrieval/NAME."""
    pairs: int = Field(20_000, ge=1)
    """`encoder-data`: maximum number of lines of passages that become pairs, on each side of the split."""


class Agent(Section):
    """Limits of a run of the agent."""

    steps: int = Field(6, ge=1)
    """Maximum number of times that the model is asked."""
    seconds: float = Field(120.0, gt=0)
    """Maximum wall time of a run in seconds."""
    tokens: int = Field(20_000, ge=1)
    """Maximum number of tokens read and written in a run."""
    tool_calls: int = Field(6, ge=0)
    """Maximum number of tool calls in a run."""
    answer_tokens: int = Field(96, ge=8)
    """Maximum number of tokens that the model writes in a step."""
    passages: int = Field(2, ge=1)
    """Number of passages that a search quotes."""
