"""An encoder, served as a user starts it: the vectors of retrieval in OpenAI's form, and what is refused."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from llm_core.retrieval.encoders import Encoder, packaged_model
from tests.llm_core.serving.conftest import ask, started

TEXTS = ["The capital of Peru is Lima.", "Une baleine nage.", "The capital of Peru is Lima."]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with started(packaged_model()) as (number, _):
        yield number


@pytest.mark.slow
def test_vectors_are_those_of_retrieval(port: int) -> None:
    import openai

    expected = Encoder()(TEXTS)
    status, text = ask(port, "/v1/embeddings", {"input": TEXTS, "user": "me"})
    answer = json.loads(text)
    assert status == 200 and answer["model"] == packaged_model().name
    assert [row["index"] for row in answer["data"]] == [0, 1, 2]
    assert np.allclose([row["embedding"] for row in answer["data"]], expected, atol=1e-6)
    assert answer["usage"]["prompt_tokens"] > 10
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
        found = client.embeddings.create(model=packaged_model().name, input=TEXTS[1])  # the client asks for base64
    assert np.allclose(found.data[0].embedding, expected[1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"input": []}, 400, "a text or a list of texts"),
        ({"input": ["a", 3]}, 400, "a text or a list of texts"),
        ({"input": [[1, 2]]}, 400, "a text or a list of texts"),
        ({"input": ["a", "\ud800"]}, 400, "no JSON object: half of a surrogate pair"),
        ({"input": ["a"] * 257}, 400, "at most 256 texts"),
        ({"input": ["a", "word " * 400]}, 400, "input[1] has 402 tokens; this model sees 256"),
        ({"input": "a", "dimensions": 8}, 400, "have 384"),
        ({"input": "a", "encoding_format": "hex"}, 400, "float or base64"),
        ({"input": "a", "model": "other"}, 404, "the one model here"),
        (
            {"input": "a", "temperature": 1},
            400,
            "unknown fields: temperature (there are dimensions, encoding_format, input)",
        ),
    ],
)
def test_what_cannot_be_given_is_refused(port: int, body: object, status: int, said: str) -> None:
    found, text = ask(port, "/v1/embeddings", body)
    assert found == status and said in json.loads(text)["error"]["message"]


@pytest.mark.slow
def test_an_encoder_writes_no_text(port: int) -> None:
    status, text = ask(port, "/v1/completions", {"prompt": "a"})
    assert status == 404 and "there are /v1/embeddings" in json.loads(text)["error"]["message"]
    assert ask(port, "/v1/embeddings", {"input": "a"}, {"Origin": "https://elsewhere.example"})[0] == 403
