"""Search and reader that note each of their calls, for the traces of `ask` and `agent`."""

from collections.abc import Sequence
from pathlib import Path

from llm_core.models.generation import Generated
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.index import Index
from llm_core.retrieval.passages import cited
from llm_core.retrieval.reader import Reader
from llm_core.retrieval.search import Hit, Method, Search
from llm_core.tracking.traces import Keep, Step, noted


class TracedSearch(Search):
    """A search whose calls are spans: the query; of each passage its id, its citation and its scores, but no text."""

    def __init__(self, index: Index, params: Retrieval, keep: Keep) -> None:
        super().__init__(index, params)
        self._keep = keep

    def __call__(self, question: str, top: int, method: Method | None = None) -> list[Hit]:
        """The best `top` passages for a question."""
        with noted(self._keep, Step("RETRIEVER", "search", {"query": question, "top": top, "method": method})) as step:
            hits = super().__call__(question, top, method)
            step.outputs = [self._document(hit) for hit in hits]
        return hits

    def _document(self, hit: Hit) -> dict[str, object]:
        """A passage in the form of a document that MLflow displays."""
        row = self.index.passage(hit.passage)
        metadata = {"document_id": row["document_id"], "score": hit.score, "similarity": hit.similarity}
        return {"id": row["id"], "page_content": cited(row), "metadata": metadata | {"doc_uri": row["url"]}}


class TracedReader(Reader):
    """A reader whose prompts are spans: prompt, answer, why it ended, tokens read and written."""

    def __init__(self, folder: Path, prompt_tokens: int, answer_tokens: int, keep: Keep) -> None:
        super().__init__(folder, prompt_tokens, answer_tokens)
        self._folder, self._keep = folder, keep

    def write(self, prompts: Sequence[list[int]]) -> list[Generated]:
        """What the model writes behind each prompt."""
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt: list[int]) -> Generated:
        step = Step("LLM", "model", {"prompt": self.tokenizer.decode(prompt)}, model=str(self._folder))
        step.tokens_read = len(prompt)
        with noted(self._keep, step):
            (found,) = super().write([prompt])
            step.outputs, step.tokens_written = {"text": found.text, "ended": found.ended}, len(found.ids)
        return found
