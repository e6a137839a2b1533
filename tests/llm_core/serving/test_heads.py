"""Models with a head, served as a user starts them: what `classify`, `tag` and `answer` say, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_core.training.finetuning.use import Classifier, Reader, Tagger
from tests.llm_core.open_model_folders import make
from tests.llm_core.serving.conftest import ask, started

TEXTS = ["Iron is a metal.", "The people of the river", "air"]


@pytest.fixture
def headed(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of a tiny random BERT with a head of `cls`, and `labels` of its own."""

    def made(cls: str, labels: list[str], **config: Any) -> Path:
        import torch
        import transformers

        folder = make("bert", tmp_path / cls)
        torch.manual_seed(1)
        names = {"num_labels": len(labels), "id2label": dict(enumerate(labels))}
        network = getattr(transformers, cls).from_pretrained(folder, **names)
        network.config.update(config)
        network.save_pretrained(folder)
        return folder

    return made


def same(left: Any, right: Any) -> bool:
    """Whether two answers are equal but for the last digits of numbers."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == pytest.approx(right, rel=1e-4) if isinstance(left, float) else bool(left == right)


@pytest.mark.slow
def test_labels(headed: Callable[..., Path]) -> None:
    folder = headed("BertForSequenceClassification", ["metal", "people", "air"], classification_temperature=2.0)
    expected = [{key: value for key, value in one.items() if key != "text"} for one in Classifier(folder)(TEXTS)]
    with started(folder) as (port, _):
        status, text = ask(port, "/classify", {"input": TEXTS})
        answer = json.loads(text)
        assert status == 200 and answer["model"] == folder.name and answer["usage"]["prompt_tokens"] > 5
        assert [one.pop("index") for one in answer["data"]] == [0, 1, 2]
        assert same(answer["data"], expected)
        status, text = ask(port, "/classify", {"input": ["a", ["b", "c"]]})
        assert status == 400 and "a text or a list of texts" in text
        status, text = ask(port, "/classify", {"input": "river " * 200})
        assert status == 400 and json.loads(text)["error"]["code"] == "context_length_exceeded"
        assert ask(port, "/v1/completions", {"prompt": "a"})[0] == 404


@pytest.mark.slow
def test_pairs(headed: Callable[..., Path]) -> None:
    folder = headed("BertForSequenceClassification", ["same", "other"], finetuned_for="sentence_pairs", text_pairs=True)
    (expected,) = Classifier(folder)(TEXTS[:1], TEXTS[1:2])
    with started(folder) as (port, _):
        status, text = ask(port, "/classify", {"input": [TEXTS[:2]]})
        assert status == 200 and same(json.loads(text)["data"][0]["probabilities"], expected["probabilities"])
        status, text = ask(port, "/classify", {"input": TEXTS})
        assert status == 400 and "a list of two texts" in text


@pytest.mark.slow
def test_entities(headed: Callable[..., Path]) -> None:
    folder = headed("BertForTokenClassification", ["O", "B-PLACE", "I-PLACE"])
    texts = [*TEXTS, "river sea iron " * 100]  # the last one is longer than the context
    expected = Tagger(folder)(texts)
    assert any(one["entities"] for one in expected)
    with started(folder) as (port, _):
        status, text = ask(port, "/tag", {"input": texts})
        assert status == 200
        assert same([one["entities"] for one in json.loads(text)["data"]], [one["entities"] for one in expected])


@pytest.mark.slow
def test_answers(headed: Callable[..., Path]) -> None:
    limits = {"length": 24, "overlap": 6, "question": 8, "answer": 6, "threshold": None}
    folder = headed("BertForQuestionAnswering", ["start", "end"], answering=limits)
    contexts = [*TEXTS, "river sea iron " * 100]  # the last one is longer than the model's positions
    questions = ["What rusts?", "Who keeps counsel?", "What is full?", "Where is iron?"]
    differences = [one["difference"] for one in Reader(folder)(questions, contexts)]
    config = json.loads((folder / "config.json").read_text())
    config["answering"]["threshold"] = sorted(differences)[2]  # one context does not hold its answer
    (folder / "config.json").write_text(json.dumps(config))
    expected = Reader(folder)(questions, contexts)
    assert {bool(one["answer"]) for one in expected} == {True, False}
    for one, context in zip(expected, contexts, strict=True):
        assert not one["answer"] or context[one["start"] : one["end"]] == one["answer"]
    with started(folder) as (port, _):
        status, text = ask(port, "/answer", {"input": [list(pair) for pair in zip(questions, contexts, strict=True)]})
        answer = json.loads(text)
        assert status == 200 and [one.pop("index") for one in answer["data"]] == [0, 1, 2, 3]
        assert same(answer["data"], expected)
        for wrong in (["a", "b"], [["a"]], [["a", "b", "c"]], [["a", " "]], [["a", 1]], [], {"a": "b"}, "a"):
            status, text = ask(port, "/answer", {"input": wrong})
            assert status == 400 and "'input' " in text
        status, text = ask(port, "/answer", {"input": [["river " * 20, "The sea"]]})
        assert status == 400 and json.loads(text)["error"]["code"] == "context_length_exceeded"
        status, text = ask(
            port, "/answer", {"input": [["What rusts?", "\u200b\x00"]]}
        )  # no token of it can be an answer
        assert status == 200 and json.loads(text)["data"][0]["answer"] == ""
