"""Loading: the content of a folder is checked before use, and every failure is a one-line error."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from llm_core.errors import UserError
from llm_core.models.loading import choose_device, load, load_network, load_tokenizer, read_network
from tests.llm_core.training.finetuning import tiny


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model("llama", tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _classifier(tmp_path_factory.mktemp("classifier") / "model", labels=3)


def _classifier(folder: Path, labels: int) -> Path:
    ids = {"vocab_size": len(tiny.tokenizer()), "pad_token_id": 2}
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(**sizes, **ids, num_labels=labels)
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def _refused(folder: Path, *arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as refusal:
        load(folder, *arguments, **options)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "opt", "t5"])
def test_every_family_that_writes_text_loads_as_a_language_model(family: str, tmp_path: Path) -> None:
    model = load(tiny.model(family, tmp_path / "model"))
    assert model.kind == ("encoder-decoder" if family == "t5" else "decoder")
    assert not model.network.training and model.device.type == choose_device().type
    assert next(model.network.parameters()).dtype == torch.float32


def test_the_dtype_is_as_asked(llama: Path) -> None:
    assert load(llama, dtype="bfloat16").network.dtype == torch.bfloat16
    with pytest.raises(UserError, match="dtype float99"):
        load(llama, dtype="float99")


def test_a_model_for_another_purpose_is_refused(llama: Path, classifier: Path, tmp_path: Path) -> None:
    reward, bert = _classifier(tmp_path / "reward", labels=1), tiny.model("bert", tmp_path / "bert")
    assert load(classifier, "classification").network.config.num_labels == 3
    assert load(reward, "reward").network.config.num_labels == 1
    assert load(bert, "encoder").network.config.hidden_size == 64
    assert "a classifier of 3 labels" in _refused(classifier)
    assert "a reward model" in _refused(reward)
    assert "a reward model" in _refused(reward, "classification")
    assert "a classifier is needed" in _refused(llama, "classification")
    assert "does not continue text" in _refused(bert)
    assert "`llm-core finetune` trains it" in _refused(bert)
    assert "`llm-core classify` uses it" in _refused(classifier)
    refused = _refused(tiny.model("t5", tmp_path / "t5"), kinds=("decoder",))
    assert "an encoder-decoder; this needs decoder (`llm-core generate`, `chat`, `serve` and `finetune`" in refused


def test_a_folder_that_is_no_model_is_one_line(tmp_path: Path, llama: Path) -> None:
    assert "no such model folder" in _refused(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty")
    file = tmp_path / "file"
    file.write_text("x")
    _refused(file)
    bare = shutil.copytree(llama, tmp_path / "bare", ignore=shutil.ignore_patterns("*token*", "*.jinja"))
    assert "no tokenizer" in _refused(bare)
    assert load_network(bare) is not None


@pytest.mark.parametrize("spoiled", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"9" * 40])
def test_a_corrupted_file_is_one_line(spoiled: str, content: bytes, llama: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(llama, tmp_path / "broken")
    (broken / spoiled).write_bytes(content)
    _refused(broken)


def test_a_truncated_checkpoint_is_one_line(llama: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(llama, tmp_path / "broken")
    data = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(data[: len(data) // 2])
    assert "cannot be loaded" in _refused(broken)


def test_weights_that_are_missing_are_not_filled_with_random_numbers(llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(llama, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    removed = weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    assert "model.layers.1.mlp.up_proj.weight" in _refused(broken)
    other = {"model.layers.1.mlp.up_proj.weight": removed[:5].clone()}
    save_file(weights | other, broken / "model.safetensors", metadata={"format": "pt"})
    assert "up_proj.weight have the sizes [5, " in _refused(broken)


def test_code_in_a_model_folder_is_not_run(llama: Path, tmp_path: Path) -> None:
    trap = shutil.copytree(llama, tmp_path / "trap")
    config = json.loads((trap / "config.json").read_text())
    config |= {"model_type": "trap", "auto_map": {"AutoConfig": "trap.Trap", "AutoModelForCausalLM": "trap.Trap"}}
    (trap / "config.json").write_text(json.dumps(config))
    (trap / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Trap: pass\n")
    _refused(trap)
    assert not (tmp_path / "ran").exists()


def test_an_adapter_is_loaded_on_its_base(llama: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = load_network(llama, device="cpu")
    torch.manual_seed(1)
    tuned = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": str(llama)})
    )
    ids = torch.tensor([[0, 9, 8, 7]])
    expected = tuned.eval()(input_ids=ids).logits
    loaded = load(tmp_path / "adapter", device="cpu")
    assert torch.allclose(loaded.network(input_ids=ids).logits, expected, atol=1e-4)
    assert loaded.tokenizer.get_vocab() == load_tokenizer(llama).get_vocab()
    shutil.rmtree(tmp_path / "adapter")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "./nowhere"}')
    with pytest.raises(UserError, match="nowhere: no such model folder"):
        load(tmp_path / "adapter")


@pytest.mark.parametrize("name", ["cuda:99", "toaster", "cpu:x"])
def test_a_device_that_is_absent_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match="--device"):
        choose_device(name)


def test_question_answering_starts_from_llamas_weights_and_is_saved_as_transformers_reads_it(tmp_path):
    """transformers names the network otherwise in this class, and without a word would start from random weights."""
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20
    )
    parent = transformers.LlamaForCausalLM(config)
    parent.save_pretrained(tmp_path / "parent")
    auto = transformers.AutoModelForQuestionAnswering
    read_network(auto, tmp_path / "parent", config, "float32", fresh_head=True).save_pretrained(tmp_path / "child")
    found, about = auto.from_pretrained(tmp_path / "child", output_loading_info=True)
    assert not about["missing_keys"]
    assert torch.equal(found.transformer.embed_tokens.weight, parent.model.embed_tokens.weight)
