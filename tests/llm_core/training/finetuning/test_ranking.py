"""Rankings: what a person types, what a reward model prefers, resumption, and rows that train one and then rlhf."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.models.generation import Decoding
from llm_core.training.finetuning import ranking
from llm_core.training.finetuning.method import SIDES
from llm_core.training.finetuning.methods import rlhf
from llm_core.training.finetuning.rows import write_rows
from tests.llm_core.open_model_folders import make
from tests.warm import start

ROOT = Path(__file__).parents[4]
QUESTIONS = ["Where does the river run?", "Is iron a metal?", "What do plants give back?"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("qwen3", tmp_path_factory.mktemp("ranked") / "model")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    talk = [{"role": "user", "content": QUESTIONS[2]}, {"role": "assistant", "content": "air"}]
    rows: list[dict[str, object]] = [{"question": QUESTIONS[0]}, {"prompt": QUESTIONS[1]}, {"messages": talk}]
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    return file


def rows_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def how(seed: int = 5) -> Decoding:
    return Decoding(8, 1.0, seed=seed)


def test_prompts_are_read_once_each(prompts: Path) -> None:
    rows = ranking.read_prompts(prompts)
    assert [row["prompt"] for row in rows] == [*QUESTIONS[:2], [{"role": "user", "content": QUESTIONS[2]}]]
    (prompts.parent / "bad.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(UserError, match=r"bad\.jsonl:1: a row needs `prompt`"):
        ranking.read_prompts(prompts.parent / "bad.jsonl")


def test_the_choice_is_kept_and_a_ranking_goes_on(model: Path, prompts: Path, tmp_path: Path) -> None:
    out, shown = tmp_path / "made" / "pairs.jsonl", []

    def longer(row: ranking.Row, answers: tuple[str, str]) -> int:
        shown.append(row["id"])
        if len(shown) == 2:
            raise EOFError
        return int(len(answers[1]) > len(answers[0]))

    rows = ranking.read_prompts(prompts)
    assert ranking.rank(model, rows, out, longer, "test", how())["pairs"] == 1
    with open(out, "a") as stream:
        stream.write('{"id": "cut')  # a killed process
    counts = ranking.rank(model, rows, out, longer, "test", how())
    assert counts["before"] == 1 and counts["pairs"] == 2
    found = rows_of(out)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert all(
        len(str(row["chosen"])) >= len(str(row["rejected"])) and row["chosen"] != row["rejected"] for row in found
    )

    again = tmp_path / "again.jsonl"
    shown[:] = ["", "", ""]
    ranking.rank(model, rows, again, longer, "test", how())
    assert rows_of(again) == found  # the same seed samples the same answers, interrupted or not


def test_a_person_sees_answers_in_either_order() -> None:
    said: list[str] = []
    orders = set()
    for number in range(20):
        typed = iter(["what?", "1"])
        choose = ranking.person(lambda _, typed=typed: next(typed), said.append, seed=number)
        orders.add(choose({"id": "a", "prompt": "?"}, ("one", "two")))
    assert orders == {0, 1}
    choose = ranking.person(lambda _: "s", said.append, 1)
    assert choose({"id": "a", "prompt": "?"}, ("one", "two")) is None
    assert "user: ?" in said


def test_a_score_of_another_task_is_no_reward(model: Path, tmp_path: Path) -> None:
    import transformers

    network = transformers.AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    shutil.copytree(model, tmp_path / "judge")
    for task in (None, "regression", "multiple_choice"):
        network.config.finetuned_for = task
        network.save_pretrained(tmp_path / "judge")
        job: Any = SimpleNamespace(params=SimpleNamespace(reward=str(tmp_path / "judge")))
        if task is None:
            assert callable(rlhf._reward_function(job)) and callable(ranking.judge(tmp_path / "judge"))
            continue
        for use, given in ((rlhf._reward_function, job), (ranking.judge, tmp_path / "judge")):
            with pytest.raises(UserError, match=rf"a model of {task}; a reward model is needed.*classify` uses it"):
                use(given)


def test_rows_of_others_are_not_appended_to(model: Path, prompts: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did not write"):
        ranking.rank(model, ranking.read_prompts(prompts), prompts, lambda row, answers: 0, "test", how())


@pytest.mark.slow
def test_typed_in_a_terminal_and_learned_by_a_reward_model_and_by_rlhf(
    model: Path, prompts: Path, tmp_path: Path
) -> None:
    def run(*arguments: str, typed: str = "") -> str:
        command = [start.python(), "-m", "llm_core.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, input=typed, text=True, capture_output=True, env=environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    ranked = ["rank", "--model", str(model), "--prompts", "prompts.jsonl", "--out-file", "pairs.jsonl"]
    said = run(*ranked, "--max-new-tokens", "8", typed="1\nq\n")
    assert "pairs.jsonl: 1 pairs, 1 of them new" in said and QUESTIONS[0] in said
    assert "pairs.jsonl: 3 pairs, 2 of them new" in run(*ranked, "--max-new-tokens", "8", typed="2\n2\n")
    asked = [{"id": str(number), "prompt": text, "answer": "air"} for number, text in enumerate(QUESTIONS)]
    write_rows(tmp_path / "asked", dict.fromkeys(SIDES, asked))
    steps = {"max_steps": 2, "max_length": 64, "zero_stage": None, "evaluations": 1}
    data = {"path": "pairs.jsonl", "heldout_share": 0.3, "test_share": 0.3}
    taught = {
        "method": "rlhf",
        "reward": "judge",
        "micro_batch": 4,
        "generations": 2,
        "max_new_tokens": 4,
        "scored_items": 2,
        **steps,
    }
    runs = {
        "judge": {"method": "reward", "data": data, **steps},
        "taught": taught,
        "dpo": {"method": "dpo", "data": data},
    }
    (tmp_path / "params.yaml").write_text(json.dumps({"finetuning": {"runs": runs}}))
    for name in ("judge", "dpo"):
        run("finetune-data", name, "--out", f"rows-{name}")
        assert sum(len(rows_of(tmp_path / f"rows-{name}" / f"{side}.jsonl")) for side in SIDES) == 3
    run("finetune", "judge", "--model", str(model), "--rows", "rows-judge", "--out", "judge")
    run("finetune", "taught", "--model", str(model), "--rows", "asked", "--out", "taught")
    judged, learned = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("judge", "taught"))
    assert judged["training"]["steps"] == learned["training"]["steps"] == 2
    assert set(judged["baseline"]) == {"longer_answer", "tfidf_logistic_regression"}
    assert (tmp_path / "taught" / "model.safetensors").read_bytes() != (model / "model.safetensors").read_bytes()


def environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(ROOT), "LLM_CORE_TRACKING": "off"}
