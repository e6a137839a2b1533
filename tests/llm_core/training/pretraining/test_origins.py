"""A run starts only where its tokens, its tokenizer and its parent belong together."""

import json
import shutil
from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards, TokenWriter, token_schema
from llm_core.models import networks
from llm_core.models.family import Vocabulary
from llm_core.params import Params
from llm_core.params.model import Model
from llm_core.training.pretraining.checkpoints import fingerprint
from llm_core.training.pretraining.origins import check_parent_tokenizer, check_tokens, parent_config
from tests.llm_core.training.pretraining import tiny

SHAPE = {"layers": 2, "width": 32, "heads": 2, "feed_forward": 64}
VOCABULARY = Vocabulary(320, 0, 1, 2)


def _config(**knobs: object) -> tuple[object, Model]:
    model = Model.model_validate(SHAPE | knobs)
    return networks.build_config(model, VOCABULARY, 32), model


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A llama with the tiny tokenizer."""
    folder = tiny.make(tmp_path)
    config, _ = _config(family="llama")
    networks.build_network(config, "sdpa", 0).save_pretrained(folder / "parent")
    shutil.copy(folder / "tokenizer" / "tokenizer.json", folder / "parent")
    return folder / "parent"


def test_tokens_of_another_tokenizer_are_refused(parent: Path) -> None:
    tokenizer = parent.with_name("tokenizer")
    shards = TokenShards(parent.parent / "tokens" / "train")
    check_tokens(shards, tokenizer)
    for schema, told in (
        (token_schema(256), "do not say which tokenizer"),
        (token_schema(256, "x"), "another tokenizer"),
    ):
        with TokenWriter(parent.parent / told, schema):
            pass
        with pytest.raises(UserError, match=told):
            check_tokens(TokenShards(parent.parent / told), tokenizer)
    file = tokenizer / "tokenizer.json"
    file.write_text(file.read_text() + " ")
    with pytest.raises(UserError, match="encoded with another tokenizer"):
        check_tokens(shards, tokenizer)


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"family": "gpt2"}, "model.family is gpt2, the parent is a llama"),
        ({"family": "llama", "layers": 3}, "model.layers is 3, the parent's 2"),
        ({"family": "llama", "width": 64}, "model.width is 64, the parent's 32"),
    ],
)
def test_a_parent_of_another_shape_is_refused(parent: Path, knobs: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        parent_config(parent, Model.model_validate(SHAPE | knobs), 32)
    assert parent_config(parent, Model.model_validate(SHAPE | {"family": "llama"}), 32).num_hidden_layers == 2
    with pytest.raises(UserError, match="has 32 positions"):
        parent_config(parent, Model(), 64)
    file = parent / "config.json"
    file.write_text(file.read_text().replace("LlamaForCausalLM", "LlamaForSequenceClassification"))
    with pytest.raises(UserError, match="a classifier of 2 labels; a language model is needed here"):
        parent_config(parent, Model(), 32)


def test_a_parent_with_another_tokenizer_is_refused(parent: Path) -> None:
    tokenizer = parent.with_name("tokenizer")
    check_parent_tokenizer(parent, tokenizer)
    file = tokenizer / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"] |= {"the": 1000}
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="differ in: model"):
        check_parent_tokenizer(parent, tokenizer)


def test_a_changed_parent_is_another_run(parent: Path) -> None:
    params = Params.model_validate({"pretraining": {"parent": str(parent)}})
    before = fingerprint(params, "tokens", "tokenizer", "fp32")
    assert before == fingerprint(params, "tokens", "tokenizer", "fp32")
    (parent / "model.safetensors").write_bytes(b"other weights")
    assert fingerprint(params, "tokens", "tokenizer", "fp32") != before
