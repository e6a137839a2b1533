"""The project's index and models as LlamaIndex's retriever and LLM, so either can be replaced by another.

engine = RetrieverQueryEngine.from_args(CorpusRetriever(search, top=5), llm=LocalModel.load(folder))
engine.query("What is the capital of Kenya?").source_nodes
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from llm_core.models.prompts import render_chat
from llm_core.retrieval.reader import Reader
from llm_core.retrieval.search import Method, Search


class CorpusRetriever(BaseRetriever):
    """The best `top` passages as nodes; their metadata name the document and the place in it."""

    def __init__(self, search: Search, top: int = 5, method: Method | None = None) -> None:
        self._search, self._top, self._method = search, top, method
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        nodes = []
        for hit in self._search(query_bundle.query_str, self._top, self._method):
            row = self._search.index.passage(hit.passage)
            facts = {key: row.get(key) for key in ("document_id", "source", "url", "title", "page", "start", "stop")}
            node = TextNode(id_=row["id"], text=row["text"], metadata=facts)
            node.excluded_llm_metadata_keys = ["document_id", "source", "url", "page", "start", "stop"]
            nodes.append(NodeWithScore(node=node, score=hit.score))
        return nodes


class LocalModel(CustomLLM):
    """A model of a folder; decoding is greedy, so that the same prompt gives the same words.

    A prompt longer than the model's context raises UserError: no prompt is cut silently.
    """

    _reader: Reader = PrivateAttr()

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader
        self.messages_to_prompt = _chat(reader.tokenizer)

    @classmethod
    def load(cls, folder: Path, prompt_tokens: int = 4096, answer_tokens: int = 128) -> "LocalModel":
        """A model folder in Hugging Face layout; prompts may be as long as its window allows."""
        return cls(Reader(folder, prompt_tokens, answer_tokens))

    @property
    def metadata(self) -> LLMMetadata:
        """The limits that LlamaIndex uses."""
        return LLMMetadata(
            context_window=self._reader.prompt_tokens + self._reader.answer_tokens,
            num_output=self._reader.answer_tokens,
            model_name=type(self._reader.model).__name__,
        )

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The model's continuation of `prompt`, which is a formatted chat if `formatted`."""
        ids = self._reader.encode(prompt, chat=not formatted)
        (text,) = self._reader([ids])
        return CompletionResponse(text=text)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The continuation in one piece, because a greedy answer of a few tokens needs no thread."""
        whole = self.complete(prompt, formatted=formatted)
        yield CompletionResponse(text=whole.text, delta=whole.text)


def _chat(tokenizer: Any) -> Callable[[Sequence[ChatMessage]], str]:
    def prompt(messages: Sequence[ChatMessage]) -> str:
        turns = [{"role": str(m.role.value), "content": m.content or ""} for m in messages]
        if tokenizer.chat_template:
            return render_chat(tokenizer, turns, add_generation_prompt=True)
        return "\n".join(turn["content"] for turn in turns)

    return prompt
