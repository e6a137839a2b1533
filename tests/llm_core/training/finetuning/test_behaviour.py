"""Promises of finetuning, on models of two layers: it ends by itself, padding does not change, nothing is cut in
silence, the best weights are kept, and a kill changes nothing.
"""

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llm_core.errors import UserError
from llm_core.params.finetuning import Finetuning
from llm_core.runtime import json_lines
from llm_core.training.finetuning.registry import methods
from tests.llm_core.training.finetuning import tiny

METHODS = tuple(name for name in methods() if name not in tiny.OF_CLASSIFICATION)
LIKE_OTHERS = ("multiple_choice", "question_answering", "token_classification", "translation")
"""Methods trained by a class of trainer that another method has too: contrastive, classification, summarization."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)


def embeddings(folder):
    weights = load_file(f"{folder}/model.safetensors")  # an encoder's have no prefix
    return next(weight for name, weight in weights.items() if name.endswith("embed_tokens.weight"))


@pytest.mark.slow
def test_the_finetuned_model_ends_its_answers_by_itself():
    metrics = tiny.run("instruction", "llama", max_steps=40, learning_rate=0.01)
    assert metrics["before"]["stopped_by_itself"] == 0
    assert metrics["after"]["stopped_by_itself"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_paddings_embedding_is_never_trained(method):
    tiny.run(method, "llama", micro_batch=8, learning_rate=0.01)  # rows differ in length, so batches are padded
    before, after = embeddings("base"), embeddings("out")
    changed = (before != after).any(1)
    assert changed.any()
    assert not changed[2]  # <|pad|>


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "counted"),
    [
        ("instruction", "dropped"),
        ("reward", "dropped"),
        ("dpo", "dropped"),
        ("rlhf", "dropped"),
        ("classification", "cut_at_max_length"),
        ("contrastive", "cut_at_max_length"),
    ],
)
def test_a_row_that_is_too_long_is_counted(method, counted):
    data = tiny.run(method, "llama", max_length=22)["training"]["data"]
    whole = tiny.run(method, "llama")["training"]["data"]
    assert whole[f"train_{counted}"] == 0
    assert 0 < data[f"train_{counted}"] < 8
    if counted == "dropped":
        kept = "train_encoded" if method == "instruction" else "train_rows"
        assert data[kept] + data["train_dropped"] == whole[kept] == 8


@pytest.mark.slow
@pytest.mark.parametrize("method", ["reward", "dpo"])
def test_each_score_is_that_of_its_row_where_a_pair_is_too_long(method):
    """Three of four test pairs fit, as many as `scored_items` draws, and others."""
    folder, knobs = tiny.rows(method), {"scored_items": 3} if method == "dpo" else {}
    rows = json_lines.load_rows(folder / "test.jsonl")
    rows[0]["chosen"] = "now " * 200
    json_lines.write_rows(folder / "test.jsonl", rows)
    metrics = tiny.run(method, "llama", data=folder, **knobs)
    tested = json_lines.load_rows(Path("out/test_items.jsonl"))
    assert [row["id"] for row in tested] == ["1", "2", "3"]
    assert sum(row["accuracy"] for row in tested) == pytest.approx(3 * metrics["after"]["accuracy"]["mean"])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_fewer_prompts_than_a_step_takes_are_refused(algorithm):
    with pytest.raises(
        UserError, match=r"8 prompts to train on, and each step takes 16 .*lower finetuning.rlhf.micro_batch"
    ):
        tiny.run("rlhf", "llama", algorithm=algorithm, micro_batch=64, generations=4)
    assert not Path("out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["instruction", "dpo", "rlhf"])
def test_a_test_prompt_beyond_the_models_positions_is_left_out_and_counted(method):
    folder = tiny.rows(method)
    long = json.loads((folder / "test.jsonl").read_text().splitlines()[0])
    if method == "instruction":
        long["messages"][0]["content"] = "now " * 300
    else:
        long["prompt"] = "now " * 300
    with open(folder / "test.jsonl", "a") as stream:
        stream.write(json.dumps(long | {"id": "long"}) + "\n")
    metrics = tiny.run(method, "gpt2", data=folder, scored_items=5)  # 256 positions
    assert metrics["test_rows_too_long"] == 1


def test_a_max_length_beyond_the_models_positions_is_refused():
    with pytest.raises(UserError, match=r"max_length 300 .* 256 positions"):
        tiny.run("classification", "gpt2", max_length=300)


def test_a_finetune_has_one_stage_alone():
    with pytest.raises(ValueError, match="dpo is in runs and in on_demand"):
        Finetuning.model_validate({"runs": {"dpo": {}}, "on_demand": {"dpo": {}}})
    with pytest.raises(ValueError, match=r"runs.late.parent early is not on the default graph"):
        Finetuning.model_validate(
            {"runs": {"late": {"method": "dpo", "parent": "early"}}, "on_demand": {"early": {"method": "dpo"}}}
        )


@pytest.mark.slow
def test_early_stopping_keeps_the_best_weights():
    metrics = tiny.run("instruction", "llama", max_steps=40, evaluations=20, patience=2, learning_rate=0.1)
    log = [json.loads(line) for line in Path("out/training_log.jsonl").read_text().splitlines()]
    losses = [row["eval_loss"] for row in log if "eval_loss" in row]
    assert metrics["training"]["steps"] < 40
    assert len(losses) - losses.index(min(losses)) - 1 == 2  # two measurements without a better one
    assert metrics["after"]["heldout_loss"] == pytest.approx(min(losses), abs=1e-3)


@pytest.fixture(scope="module")
def starter():
    """Starts processes that have the libraries imported, which else takes most of their time."""
    found = multiprocessing.get_context("forkserver")
    trainers = [f"trl.trainer.{name}_trainer" for name in ("sft", "dpo", "grpo", "reward")]
    found.set_forkserver_preload([tiny.__name__, "peft", "transformers.trainer", *trainers])
    return found


def in_a_child(folder, method, knobs):
    """A run in a process of its own, in `folder`, with its output in `log`."""
    os.chdir(folder)
    with open("log", "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ["LLM_CORE_TRACKING"] = "off"
    for name in tiny.LAUNCHED:
        os.environ.pop(name, None)
    torch.set_num_threads(1)
    tiny.run(method, "llama", **knobs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.long) if name in LIKE_OTHERS else name for name in METHODS]
)
def test_killed_and_resumed_equals_uninterrupted(method, capfd, starter):
    """SIGKILL after the first whole checkpoint, in another process; then the same command again."""
    knobs = {"max_steps": 12, "evaluations": 6, "learning_rate": 0.01}
    whole = tiny.run(method, "llama", **knobs)
    shutil.move("out", "whole")
    child = starter.Process(target=in_a_child, args=(Path.cwd(), method, knobs))
    child.start()
    scratch = Path(".scratch/finetuning")
    while child.is_alive() and not list(scratch.glob("*/checkpoints/checkpoint-*/complete")):
        time.sleep(0.002)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL, Path("log").read_text()[-2000:]
    assert not Path("out").exists()
    capfd.readouterr()
    resumed = tiny.run(method, "llama", **knobs)
    assert "resuming from checkpoint-" in "".join(capfd.readouterr())
    assert Path("out/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    for name in ("training_log.jsonl", "training_rows.jsonl"):
        assert Path("out", name).read_text() == Path("whole", name).read_text()
    assert resumed == whole
    assert not list(scratch.iterdir())
