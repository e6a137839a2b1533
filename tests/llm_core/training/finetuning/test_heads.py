"""A method's module can define a head of its own: here BERT's head that marks the span of an answer."""

from pathlib import Path

import torch
import transformers

from llm_core.params.finetuning import Training
from llm_core.training.finetuning.heads import Head, auto, numbered
from llm_core.training.finetuning.models import add_adapter, load
from tests.llm_core.training.finetuning import tiny

SPAN = Head("span", auto("AutoModelForQuestionAnswering"), lambda kind: "QUESTION_ANS", fresh=True)
TAGS = Head("tags", auto("AutoModelForTokenClassification"), lambda kind: "TOKEN_CLS", True, numbered)


def test_a_head_of_another_module_starts_fresh_and_trains_whole_beside_an_adapter(tmp_path: Path) -> None:
    folder = tiny.model("bert", tmp_path)
    torch.manual_seed(1)
    model = load(folder, SPAN, "encoder")
    assert isinstance(model, transformers.BertForQuestionAnswering)
    assert model.fresh_layers == ["qa_outputs"]
    adapted = add_adapter(model, Training(adapter="lora"), SPAN.task_type("encoder"))
    trained = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert any("qa_outputs.modules_to_save" in name for name in trained)
    assert all("lora_" in name or "qa_outputs" in name for name in trained)


def test_a_heads_labels_are_settings_of_the_model(tmp_path: Path) -> None:
    model = load(tiny.model("bert", tmp_path), TAGS, "encoder", ["O", "B-place", "I-place"])
    assert isinstance(model, transformers.BertForTokenClassification)
    assert (model.config.id2label, model.classifier.out_features) == ({0: "O", 1: "B-place", 2: "I-place"}, 3)
