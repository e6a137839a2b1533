"""Each method runs on tiny saved models where it applies, refuses where not, and what it saves is right."""

import re
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.training.finetuning import stage
from llm_core.training.finetuning.heads import CLASSIFICATION, GENERATION
from llm_core.training.finetuning.methods.instruction import Instruction
from llm_core.training.finetuning.models import add_adapter, load
from llm_core.training.finetuning.registry import check_applies, methods
from tests.llm_core.training.finetuning import tiny
from tests.llm_core.training.finetuning.tiny import rows, run

PREFIX = re.compile(r"^(transformer|model|bert)\.")
FAMILIES = ("gpt2", "gptj", "bert", "t5", "flan-t5", "bloom", "opt", "llama")
HEADLESS = [("token_classification", family) for family in ("gptj", "opt", "bart")]  # transformers has none
MERGED = ("llama", "gpt2")  # GPT-2's layers keep their weights the other way round
SHORT = (*tiny.OF_CLASSIFICATION, "multiple_choice", "token_classification", "question_answering")
# they load and save what classification does
ONE_OF_A_KIND = ("gpt2", "bert", "t5")
KINDS = {  # of transformers' model types
    **dict.fromkeys(("bert", "roberta", "distilbert"), "encoder"),
    **dict.fromkeys(("t5", "bart"), "encoder-decoder"),
    **dict.fromkeys(("gpt2", "gptj", "bloom", "opt", "llama", "mistral"), "decoder"),
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "family"),
    [
        (method, family)
        for method, found in methods().items()
        for family in (ONE_OF_A_KIND if method in SHORT else FAMILIES)
        if KINDS[family.removeprefix("flan-")] in found.kinds
    ],
)
def test_a_method_trains_every_family_that_it_applies_to(method, family):
    metrics = run(method, family)
    assert metrics["training"]["steps"] == 2
    before, after = (  # a model without a head names its weights without a prefix
        {PREFIX.sub("", name): weight for name, weight in load_file(f"{folder}/model.safetensors").items()}
        for folder in ("base", "out")
    )
    shared = [name for name in before if name in after and before[name].shape == after[name].shape]
    assert any(not torch.equal(before[name], after[name]) for name in shared)  # it trained
    tokenizer = transformers.AutoTokenizer.from_pretrained("out")
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert transformers.AutoConfig.from_pretrained("out").pad_token_id == tokenizer.pad_token_id


@pytest.mark.slow
@pytest.mark.parametrize("family", [one for one in FAMILIES if one not in (*MERGED, "bert")])  # their own tests below
@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_every_family_takes_adapters(adapter, family):
    metrics = run("instruction", family, adapter=adapter)
    assert metrics["training"]["trained_parameters"] < metrics["training"]["parameters"]
    assert Path("out/adapter/adapter_model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_an_encoder_takes_adapters(adapter, family):
    metrics = run("contrastive", family, learning_rate=0.01, adapter=adapter)
    assert metrics["training"]["trained_parameters"] < metrics["training"]["parameters"]
    before, after = (load_file(f"{folder}/model.safetensors") for folder in ("base", "out"))
    after = {PREFIX.sub("", name): weight for name, weight in after.items()}
    name = next(name for name in after if name.endswith(("query.weight", "q_proj.weight")))
    assert not torch.equal({PREFIX.sub("", key): weight for key, weight in before.items()}[name], after[name])


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("method", tuple(methods()))
def test_a_method_takes_its_kinds_of_model_and_refuses_others_in_one_line_before_any_weight(method, family):
    transformers.AutoConfig.for_model(family).save_pretrained(family)  # the folder holds no weights
    kind = KINDS[family]
    if (method, family) in HEADLESS:
        with pytest.raises(UserError, match=f"{method} does not apply to {family}: transformers has no {family} with"):
            check_applies(method, Path(family))
        return
    if kind in methods()[method].kinds:
        assert check_applies(method, Path(family)) == kind
        return
    able = [name for name, found in methods().items() if kind in found.kinds]
    assert able
    with pytest.raises(UserError) as refused:
        stage.finetune(method, Path(family), rows(method), Path("out"), Params())
    article = "a" if kind == "decoder" else "an"
    assert f"{method} does not apply to {family}, {article} {kind}: {methods()[method].why_not}" in str(refused.value)
    assert f"(methods for this model: {', '.join(able)})" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Path("out").exists()


@pytest.mark.parametrize("method", tuple(methods()))
def test_an_adapter_alone_is_refused_as_parent_in_one_line(method):
    Path("adapter").mkdir()
    Path("adapter", "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    Path("adapter", "adapter_model.safetensors").touch()
    with pytest.raises(UserError, match=r"^adapter: this folder holds an adapter alone; .*merged model.*$"):
        stage.finetune(method, Path("adapter"), rows(method), Path("out"), Params())
    assert not Path("out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["lora", "qlora"])
@pytest.mark.parametrize("family", MERGED)
def test_the_merged_export_equals_base_plus_adapter(adapter, family):
    from peft import PeftModel

    metrics = run("instruction", family, adapter=adapter, learning_rate=0.05)
    assert Path("out/adapter/adapter_model.safetensors").is_file()
    ids = torch.tensor([[0, 40, 41, 42, 43]])
    base = load(Path("base"), GENERATION, "decoder", four_bit=adapter == "qlora")
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        both = PeftModel.from_pretrained(base, "out/adapter").eval()(input_ids=ids).logits
        merged = load(Path("out"), GENERATION, "decoder").eval()(input_ids=ids).logits
    merged = merged[..., : both.shape[-1]]  # without the padding token that a tokenizer lacked
    assert torch.allclose(both, merged, atol=1e-4)
    assert not torch.allclose(plain, merged, atol=1e-3)  # the adapter does something
    assert metrics["training"]["trained_parameters"] < metrics["training"]["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "t5", "opt"])
@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_a_classifiers_adapter_alone_holds_all_that_the_base_lacks(adapter, family):
    from peft import PeftModel

    metrics = run("classification", family, adapter=adapter, learning_rate=0.05)
    assert metrics["training"]["trained_parameters"] < metrics["training"]["parameters"]
    assert Path("out/adapter/adapter_model.safetensors").is_file()
    kind = {"bert": "encoder", "t5": "encoder-decoder"}.get(family, "decoder")
    torch.manual_seed(99)  # another seed than the training's: a layer that stayed random would show
    base = load(Path("base"), CLASSIFICATION, kind, ["no", "yes"], four_bit=adapter == "qlora")
    base.config.pad_token_id = 2
    ids = torch.tensor([[0, 40, 41, 42, 43, 1]])
    with torch.no_grad():
        both = PeftModel.from_pretrained(base, "out/adapter").eval()(input_ids=ids).logits
        merged = load(Path("out"), CLASSIFICATION, kind).eval()(input_ids=ids).logits
    assert torch.allclose(both, merged, atol=1e-4)


def test_qlora_gradients_after_an_evaluation_equal_those_of_the_dequantised_weights():
    folder = tiny.model("llama", Path("base"))
    ids = torch.tensor([[0, 40, 41, 42, 43, 44, 45, 46]])

    def gradients(dequantised):
        model = load(folder, GENERATION, "decoder", four_bit=True)
        model = add_adapter(model.dequantize() if dequantised else model, Instruction(adapter="qlora"), "CAUSAL_LM")
        weights = [(name, weight) for name, weight in sorted(model.named_parameters()) if "lora_" in name]
        torch.manual_seed(1)
        for _, weight in weights:
            torch.nn.init.normal_(weight, std=0.05)
        model.eval()
        with torch.no_grad():
            model(input_ids=ids)  # the trap springs in a forward without gradients
        model.train()
        model(input_ids=ids, labels=ids).loss.backward()
        return torch.cat([weight.grad.flatten() for _, weight in weights])

    exact, four_bit = gradients(True), gradients(False)
    assert torch.linalg.norm(four_bit - exact) / torch.linalg.norm(exact) < 1e-3


def test_a_label_unseen_in_training_is_refused_with_its_name():
    folder = rows("classification")
    (folder / "test.jsonl").write_text('{"text": "x", "label": "maybe"}\n')
    params = Params.model_validate({"finetuning": {"runs": {"classification": {"zero_stage": None}}}})
    with pytest.raises(UserError, match=r"test.jsonl:1: label 'maybe'"):
        stage.finetune("classification", tiny.model("llama", Path("base")), folder, Path("out"), params)
    assert not Path("out").exists()
