"""Each preference method has its intended effect, at the smallest size that can show it: a model of two layers that
mostly answers no learns to answer yes, judged on names that training never saw. What the methods do on the default
data, with the default base: benchmarks/finetuning_preferences.py.
"""

from pathlib import Path

import pytest
import torch

from llm_core.params import Params
from llm_core.training.finetuning import stage
from llm_core.training.finetuning.rows import write_rows
from tests.llm_core.training.finetuning import tiny

NAMES = [first + last for first in ("Ba", "Do", "Ki", "Lu", "Me", "Po", "Ra", "Su") for last in "bdfgklmnprst"]
COMMON = {"zero_stage": None, "micro_batch": 16, "evaluations": 1, "max_length": 64, "learning_rate": 0.003}

REINFORCED = {"generations": 8, "micro_batch": 32, "max_new_tokens": 4, "scored_items": 24, "max_steps": 30}


def rows(method: str) -> Path:
    sides: dict[str, list] = {"train": [], "heldout": [], "test": []}
    for number, name in enumerate(NAMES):
        side = "test" if number % 4 == 1 else "heldout" if number % 12 == 0 else "train"
        question = f"Is it in {name}?"
        row = {"id": name, "prompt": question, "answer": "yes", "chosen": "yes", "rejected": "no"}
        if method == "instruction":
            said = "yes" if number % 10 < 3 else "no"
            talk = [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
            row = {"id": name, "messages": talk}
        sides[side].append(row)
    folder = Path(f"rule-{method}")
    folder.mkdir()
    write_rows(folder, sides)
    return folder


def run(method, start, out, **knobs):
    params = Params.model_validate({"finetuning": {"runs": {method: COMMON | knobs}}})
    return stage.finetune(method, start, rows(method), Path(out), params)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A model that says yes three times in ten and no else, and stops."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)
    tiny.model("llama", Path("base"))
    metrics = run("instruction", Path("base"), "start", max_steps=30, max_new_tokens=4)
    assert metrics["after"]["stopped_by_itself"] == 1
    return Path("start")


@pytest.mark.slow
def test_dpo_raises_margin_accuracy_and_win_rate_on_held_out_pairs(start):
    metrics = run("dpo", start, "out", max_steps=30, max_new_tokens=4, scored_items=24)
    margin, accuracy, won = metrics["dpo_margin"], metrics["accuracy_change"], metrics["win_rate"]
    assert (margin["items"], accuracy["items"]) == (24, 24)
    assert margin["mean"] > 3 * margin["standard_error"]
    assert (accuracy["before"], accuracy["after"]) == (0, 1)
    assert won["rate"] == 1  # judged by word F1 with the right answer
    assert max(margin["p_value"], accuracy["p_value"], won["p_value"]) < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_rlhf_raises_the_held_out_reward_at_bounded_kl(start, algorithm):
    metrics = run("rlhf", start, "out", algorithm=algorithm, reward="exact_answer", **REINFORCED)
    change = metrics["exact_answer_change"]
    assert (change["before"], change["after"]) == (0, 1)
    assert change["p_value"] < 0.001
    # always saying what the start says three times in ten costs -log 0.3 = 1.2 nats; the rest stays as it was
    assert 0 < metrics["kl_nats_per_answer"]["mean"] < 2.4


@pytest.mark.slow
def test_rlhf_by_a_learned_reward_gives_right_answers_where_kl_holds_it(start):
    judged = run("reward", start, "judge", max_steps=30)
    assert judged["accuracy_change"]["after"] == 1
    metrics = run(
        "rlhf", start, "out", reward="judge", beta=1.0, **REINFORCED
    )  # at 0.5 it writes what the judge overrates
    change = metrics["exact_answer_change"]
    assert (change["before"], change["after"]) == (0, 1)
    assert change["p_value"] < 0.001 and metrics["after"]["stopped_by_itself"] == 1
    assert 0 < metrics["kl_nats_per_answer"]["mean"] < 2.4
