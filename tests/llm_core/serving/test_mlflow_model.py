"""What MLflow loads answers as `llm-core` does with the same folder, whatever kind of model it holds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.serving import mlflow_model
from llm_core.serving.guard import RefusedError
from llm_core.training.finetuning.use import Classifier, Reader, Tagger
from tests.llm_core.open_model_folders import SENTENCES, make


def headed(folder: Path, cls: str, **config: Any) -> Path:
    """A tiny random BERT with a head of `cls`."""
    import torch
    import transformers

    make("bert", folder)
    torch.manual_seed(1)
    network = getattr(transformers, cls).from_pretrained(folder)
    network.config.update(config)
    network.save_pretrained(folder)
    return folder


def loaded(folder: Path) -> mlflow_model.Model:
    model = mlflow_model.Model()
    model.load_context(SimpleNamespace(artifacts={"model": str(folder)}))
    return model


def test_a_head_that_mlflow_loads_answers_with_its_own_weights(tmp_path: Path) -> None:
    import mlflow

    folder = headed(tmp_path / "answers", "BertForQuestionAnswering")
    mlflow.pyfunc.save_model(
        tmp_path / "logged",
        python_model=str(mlflow_model.__file__),
        artifacts={"model": str(folder)},
        pip_requirements=["torch"],
    )
    pair = ["Who keeps counsel?", SENTENCES[1]]
    (expected,) = Reader(folder)([pair[0]], [pair[1]])
    assert mlflow.pyfunc.load_model(str(tmp_path / "logged")).predict(["\t".join(pair)]) == [expected]


def test_labels_entities_and_vectors(tmp_path: Path) -> None:
    labels = headed(tmp_path / "labels", "BertForSequenceClassification", classification_temperature=2.0)
    (expected,) = Classifier(labels)(SENTENCES[:1])
    assert loaded(labels).predict(None, SENTENCES[:1]) == [{k: v for k, v in expected.items() if k != "text"}]
    pairs = headed(tmp_path / "pairs", "BertForSequenceClassification", finetuned_for="sentence_pairs", text_pairs=True)
    (expected,) = Classifier(pairs)(SENTENCES[:1], SENTENCES[1:2])
    (found,) = loaded(pairs).predict(None, ["\t".join(SENTENCES[:2])])
    assert found["probabilities"] == expected["probabilities"]
    with pytest.raises(RefusedError, match="a list of two texts"):
        loaded(pairs).predict(None, SENTENCES[:1])
    places = headed(tmp_path / "places", "BertForTokenClassification", id2label={0: "O", 1: "B-PLACE"})
    (expected,) = Tagger(places)(SENTENCES[:1])
    assert loaded(places).predict(None, SENTENCES[:1]) == [{"entities": expected["entities"]}]
    (first, second) = loaded(make("bert", tmp_path / "bert")).predict(None, SENTENCES[:2])
    assert first.keys() == {"embedding"} and first != second


@pytest.mark.parametrize("kind", ["qwen3", "llama", "t5"])
def test_a_text_is_continued_or_answered_as_llm_core_generate_does(tmp_path: Path, kind: str) -> None:
    from llm_core.models.generation import Decoding, generate
    from llm_core.models.loading import load
    from llm_core.models.prompts import encode_prompt

    model = load(make(kind, tmp_path / kind))
    ids = encode_prompt(model.tokenizer, "The river", model.kind)
    (written,) = generate(model, [ids], Decoding(6))
    (text,) = loaded(tmp_path / kind).predict(None, ["The river"], {"max_new_tokens": 6})
    if kind == "t5":
        assert text == written.text
    else:
        assert written.text.strip() and text.startswith("The river") and text.endswith(written.text)


def test_a_model_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    reward = headed(tmp_path / "reward", "BertForSequenceClassification", id2label={0: "reward"})
    with pytest.raises(UserError, match="a reward model; a classifier is needed here"):
        loaded(reward)
    file = make("llama", tmp_path / "part") / "model.safetensors"
    weights = {name: weight for name, weight in load_file(file).items() if "layers.1.mlp" not in name}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks weights of a LlamaForCausalLM"):
        loaded(tmp_path / "part")
