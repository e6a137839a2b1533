"""training_rows.jsonl names what each step really saw: compared with what the training loop was given."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers

from llm_core.errors import UserError
from llm_core.training.finetuning.registry import methods
from llm_core.training.finetuning.rows import read_rows, write_rows
from tests.llm_core.training.finetuning import cases, tiny

COUNTRY = re.compile("|".join(tiny.COUNTRIES))
TWO = ("instruction", "dpo")
Rows = dict[int, set[str]]


def written(folder: Path) -> Rows:
    """The rows of each step as `training_rows.jsonl` names them."""
    lines = [json.loads(line) for line in (folder / "out" / "training_rows.jsonl").read_text().splitlines()]
    return {line["step"]: {tiny.COUNTRIES[int(row)] for row in line["rows"]} for line in lines}


def recorded(folder: Path, processes: int = 1) -> Rows:
    """The rows of each step as the training loop was given them."""
    found: Rows = {}
    for rank in range(processes):
        for line in (folder / f"hook-{rank}.jsonl").read_text().splitlines():
            row = json.loads(line)
            countries = {match for text in row["texts"] for match in COUNTRY.findall(text)}
            found.setdefault(row["step"], set()).update(countries)
    return found


def test_rows_of_one_side_have_names_of_their_own(tmp_path: Path) -> None:
    """Scores of two models are compared by these; a row without an id is named by its number."""
    rows = [{"id": "2", "text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    write_rows(tmp_path, {"train": rows[1:], "heldout": rows[:1], "test": rows})
    with pytest.raises(UserError, match=r"test\.jsonl:2: is named '2', as line 1 is"):
        read_rows(tmp_path, "classification")
    write_rows(tmp_path, {"train": rows, "heldout": rows[:1], "test": rows[:1]})
    read = read_rows(tmp_path, "classification")
    assert [row["id"] for row in read["test"]] == ["2"] and len(read["train"]) == 2, "training may repeat a row"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base model, in which this process trains with its steps recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.model("llama", Path("base")))
    monkeypatch.setattr(transformers.Trainer, "training_step", transformers.Trainer.training_step)  # set back after
    cases.record(tokenizer, tmp_path / "hook-0.jsonl")
    return tmp_path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs by two processes."""
    folder = tmp_path_factory.mktemp("both")
    made = {method: {"method": method, "family": "llama", "max_steps": 4, "micro_batch": 2} for method in TWO}
    cases.run(made, folder, processes=2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in methods() if name not in tiny.OF_CLASSIFICATION])
def test_each_step_saw_the_rows_that_are_written(method: str, here: Path) -> None:
    batch = {"micro_batch": 4, "generations": 2} if method == "rlhf" else {"micro_batch": 3}
    tiny.finetune(method, "base", tiny.rows(method), max_steps=5, gradient_accumulation=2, **batch)
    assert written(here) == recorded(here)
    assert set(written(here)) == {1, 2, 3, 4, 5}
    assert written(here)[1] < set(tiny.COUNTRIES), "one step sees a part"


@pytest.mark.slow
@pytest.mark.parametrize("method", TWO)
def test_with_two_processes(method: str, both: Path) -> None:
    assert written(both / method) == recorded(both / method, processes=2)
    assert len(written(both / method)[1]) == 4


@pytest.mark.slow
def test_the_weights_kept_by_early_stopping_saw_no_later_step(here: Path) -> None:
    knobs = {"max_steps": 40, "micro_batch": 4, "evaluations": 20, "patience": 2, "learning_rate": 0.1}
    tiny.finetune("instruction", "base", tiny.rows("instruction"), **knobs)
    log = [json.loads(line) for line in Path("out/training_log.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["eval_loss"] for row in log if "eval_loss" in row}
    best = min(losses, key=lambda step: losses[step])
    assert best < max(recorded(here))
    assert written(here) == {step: rows for step, rows in recorded(here).items() if step <= best}
