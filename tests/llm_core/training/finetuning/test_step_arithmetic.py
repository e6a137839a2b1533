"""What a step of finetuning counts: tokens of all its passes, answers and packed sequences of an epoch; and the KL."""

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers as t

from llm_core.errors import UserError
from llm_core.models.batches import shifted_right
from llm_core.models.lstm import LSTMConfig
from llm_core.params import validate
from llm_core.runtime import json_lines
from llm_core.training.finetuning.packing import check_packing
from llm_core.training.finetuning.registry import check_applies
from llm_core.training.finetuning.scoring import log_ratios
from llm_core.training.finetuning.stage import say_other_labels
from tests.llm_core.training.finetuning import tiny

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 12}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)


def words() -> SimpleNamespace:
    """A tokenizer of which the text of a token is no way back to it."""
    return SimpleNamespace(eos_token_id=1, pad_token_id=0, decode=lambda ids, **_: " " * len(ids))


def llama(seed: int, std: float) -> t.LlamaForCausalLM:
    torch.manual_seed(seed)
    config = t.LlamaConfig(
        intermediate_size=32, initializer_range=std, pad_token_id=0, bos_token_id=2, eos_token_id=1, **SIZES
    )
    return t.LlamaForCausalLM(config).eval()


def test_the_kl_divergence_is_that_of_the_distributions():
    model, start, count = llama(0, 0.3), llama(1, 0.3), 4000
    prompt = [2, 5, 7]
    with torch.no_grad():
        p, q = (one(input_ids=torch.tensor([prompt])).logits[0, -1].double().log_softmax(0) for one in (model, start))
    exact = float((p.exp() * (p - q)).sum())
    torch.manual_seed(3)
    found = torch.tensor(log_ratios(model, start, words(), [prompt] * count, new=1), dtype=torch.float64)
    assert exact > 0.2
    assert float(found.mean()) == pytest.approx(exact, abs=4 * float(found.std()) / math.sqrt(count))


def test_networks_in_which_packed_rows_see_each_other_are_refused():
    check_packing(llama(0, 0.3).train())
    sizes = SIZES | {"ffn_dim": 32, "word_embed_proj_dim": 32, "init_std": 0.3}
    opt = t.OPTForCausalLM(t.OPTConfig(**sizes, pad_token_id=0, bos_token_id=2, eos_token_id=1))
    with pytest.raises(UserError, match="a opt sees the rows before its own; set packing: false"):
        check_packing(opt)


def test_rlhf_cannot_end_by_measurements_that_it_does_not_make():
    validate({"finetuning": {"runs": {"rlhf": {"patience": None}, "dpo": {"patience": 2}}}}, "params.yaml")
    with pytest.raises(UserError, match=r"finetuning\.runs\.rlhf\.patience.* measures nothing"):
        validate({"finetuning": {"runs": {"rlhf": {"patience": 2}}}}, "params.yaml")


def test_a_decoder_reads_its_labels_as_the_networks_of_nllb_make_them():
    from transformers.models.m2m_100.modeling_m2m_100 import shift_tokens_right

    labels = torch.tensor([[5, 6, 1], [7, 1, -100]])
    assert shifted_right(labels, 2, 0).tolist() == shift_tokens_right(labels, 0, 2).tolist() == [[2, 5, 6], [2, 7, 1]]


@pytest.mark.parametrize("method", ["instruction", "dpo", "rlhf", "summarization"])
def test_a_recurrent_network_is_refused_before_any_weight(method, tmp_path):
    """TRL would call the layers of the LSTM as if they were a whole network, and end in a TypeError."""
    LSTMConfig(architectures=["LSTMForCausalLM"]).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"{method} does not apply to llm_core_lstm: TRL asks"):
        check_applies(method, tmp_path)
    if method != "summarization":
        t.LlamaConfig(architectures=["LlamaForSequenceClassification"], num_labels=3).save_pretrained(tmp_path)
        with pytest.raises(UserError, match="a classifier of 3 labels; a language model is needed here"):
            check_applies(method, tmp_path)


@pytest.mark.parametrize(
    ("labels", "told"), [(["no", "yes"], True), (["far", "near"], False), (["a", "b", "c"], False)]
)
def test_a_head_that_goes_on_under_other_names_is_said_to(labels, told, tmp_path, capsys):
    names = {0: "far", 1: "near"}
    t.LlamaConfig(architectures=["LlamaForSequenceClassification"], id2label=names).save_pretrained(tmp_path)
    say_other_labels(tmp_path, labels)
    assert ("trained for far, near; it goes on, in this order, as no, yes" in capsys.readouterr().err) == told


@pytest.mark.slow
def test_a_step_of_t5_is_the_same_in_one_pass_or_four(here):
    """The loss that T5 computes itself is the mean of a pass; of these the trainer took the sum."""
    first = []
    for micro in (8, 2):
        tiny.run("translation", "t5", micro_batch=micro, gradient_accumulation=8 // micro, max_steps=1)
        log = json_lines.load_rows(Path("out/training_log.jsonl"))
        first.append(next((row["loss"], row["grad_norm"]) for row in log if "loss" in row))
    assert first[0] == pytest.approx(first[1], rel=0.25), "but for dropout"


@pytest.mark.slow
def test_an_epoch_of_rlhf_has_every_prompt_as_often_as_answers_are_drawn(here):
    folder = tiny.rows("rlhf")
    with open(folder / "train.jsonl", "a") as stream:
        stream.writelines((folder / "heldout.jsonl").read_text().splitlines(keepends=True))
    metrics = tiny.run("rlhf", "llama", data=folder, max_steps=None, epochs=0.25, micro_batch=4, generations=4)
    assert metrics["training"]["steps"] == 3, "a quarter of 12 prompts, of which four are repeated, one prompt a step"


@pytest.mark.slow
def test_epochs_are_whole_passes_where_no_step_divides_the_rows(here):
    """Eight rows, five in a step and three in the next: three passes are six steps."""
    metrics = tiny.run("classification", "llama", max_steps=None, epochs=3, micro_batch=5)
    assert metrics["training"]["steps"] == 6
    seen = [row for step in json_lines.load_rows(Path("out/training_rows.jsonl")) for row in step["rows"]]
    assert set(Counter(seen).values()) == {3}


@pytest.mark.slow
def test_an_epoch_of_packed_rows_has_as_many_steps_as_their_sequences_need(here):
    knobs = {"max_steps": None, "micro_batch": 1, "max_length": 128}
    steps = [tiny.run("instruction", "llama", packing=on, **knobs)["training"]["steps"] for on in (False, True)]
    assert steps[0] == 8
    assert 1 <= steps[1] < 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "family"), [("instruction", "llama"), ("translation", "t5"), ("token_classification", "bert")]
)
def test_the_held_out_loss_is_a_mean_over_targets_whatever_rows_share_a_batch(here, method, family):
    """The rows of one side have from one target to many; the rate is so small that the weights stay as they are."""
    rows = tiny.rows(method)
    if method == "instruction":
        talks = [[("user", "Is it?"), ("assistant", "yes " * (1 + 3 * at) + "no")] for at in range(5)]
        made = [{"messages": [{"role": role, "content": text} for role, text in talk]} for talk in talks]
        json_lines.write_rows(rows / "heldout.jsonl", made)
    found = []
    for micro in (4, 1):
        knobs = {"micro_batch": micro, "gradient_accumulation": 4 // micro, "max_steps": 1, "learning_rate": 1e-9}
        metrics = tiny.run(method, family, rows, **knobs)
        log = json_lines.load_rows(Path("out/training_log.jsonl"))
        found += [row["eval_loss"] for row in log if "eval_loss" in row]
    assert len(found) == 2 and found[0] == pytest.approx(found[1], rel=1e-5)
    if method == "instruction":
        assert found[0] == pytest.approx(metrics["after"]["heldout_loss"], rel=1e-5)
