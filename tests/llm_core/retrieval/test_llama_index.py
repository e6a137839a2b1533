"""LlamaIndex runs on our retriever and our model."""

from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.retrieval.index import Index
from llm_core.retrieval.llama_index import CorpusRetriever, LocalModel
from llm_core.retrieval.search import Search
from tests.llm_core.retrieval.test_ask import model  # noqa: F401 - a fixture
from tests.llm_core.retrieval.test_index import PARAMS, TEXTS, built  # noqa: F401 - a fixture


def test_a_query_engine_of_ours(built: Path, model: Path) -> None:  # noqa: F811
    from llama_index.core.query_engine import RetrieverQueryEngine

    llm = LocalModel.load(model, prompt_tokens=1500, answer_tokens=6)
    engine = RetrieverQueryEngine.from_args(CorpusRetriever(Search(Index(built), PARAMS), top=1), llm=llm)
    response = engine.query("What is the capital of Japan?")
    node = response.source_nodes[0].node
    assert node.metadata["document_id"] == "Japan"
    assert TEXTS["Japan"][node.metadata["start"] : node.metadata["stop"]] == node.get_content()
    assert llm.complete("Tokyo is").text == llm.complete("Tokyo is").text != ""


def test_a_prompt_over_the_window_is_refused(model: Path) -> None:  # noqa: F811
    with pytest.raises(UserError, match="the maximum is 20"):
        LocalModel.load(model, prompt_tokens=20, answer_tokens=4).complete("word " * 60)
