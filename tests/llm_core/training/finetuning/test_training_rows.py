"""training_rows.jsonl names what each step really saw: held against what a hook in the training loop was given."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.training.finetuning.registry import methods
from tests.llm_core.training.finetuning import tiny

COUNTRY = re.compile("|".join(tiny.COUNTRIES))
HOOK = """\
import json, os, re, sys
import torch, transformers
torch.set_num_threads(1)
step = transformers.Trainer.training_step
ids = re.compile("(^|_)ids$")
tokenizer = transformers.AutoTokenizer.from_pretrained("base")
seen = open(f"hook-{os.environ.get('RANK', 0)}.jsonl", "w")

def hooked(trainer, model, inputs, *rest, **named):
    if hasattr(inputs, "items"):
        texts = [text for name, value in inputs.items() if ids.search(name) for text in tokenizer.batch_decode(value)]
    else:
        texts = [json.dumps(row["prompt"]) for row in inputs]
    seen.write(json.dumps({"step": trainer.state.global_step + 1, "texts": texts}) + "\\n")
    seen.flush()
    return step(trainer, model, inputs, *rest, **named)

transformers.Trainer.training_step = hooked
"""


def run(method: str, processes: int = 1, **knobs: Any) -> None:
    """The tiny finetuning with the hook, in processes of its own."""
    Path("run.py").write_text(
        f"{HOOK}\nfrom tests.llm_core.training.finetuning import tiny\n"
        f"tiny.finetune({method!r}, 'base', 'rows-{method}', **{knobs!r})\n"
    )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if processes == 2 else []
    subprocess.run([sys.executable, *launcher, "run.py"], env=tiny.environment(), check=True)


def told() -> dict[int, set[str]]:
    lines = [json.loads(line) for line in Path("out/training_rows.jsonl").read_text().splitlines()]
    return {line["step"]: {tiny.COUNTRIES[int(row)] for row in line["rows"]} for line in lines}


def hooked(processes: int = 1) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for rank in range(processes):
        for line in Path(f"hook-{rank}.jsonl").read_text().splitlines():
            row = json.loads(line)
            countries = {match for text in row["texts"] for match in COUNTRY.findall(text)}
            found.setdefault(row["step"], set()).update(countries)
    return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)
    tiny.model("llama", Path("base"))


@pytest.mark.slow
@pytest.mark.parametrize("method", tuple(methods()))
def test_each_step_saw_what_is_told(method: str) -> None:
    tiny.rows(method)
    batch = {"micro_batch": 4, "generations": 2} if method == "rlhf" else {"micro_batch": 3}
    run(method, max_steps=5, gradient_accumulation=2, **batch)
    assert told() == hooked()
    assert set(told()) == {1, 2, 3, 4, 5}
    assert told()[1] < set(tiny.COUNTRIES), "one step sees a part"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["instruction", "dpo"])
def test_with_two_processes(method: str) -> None:
    tiny.rows(method)
    run(method, processes=2, max_steps=4, micro_batch=2)
    assert told() == hooked(processes=2)
    assert len(told()[1]) == 4


@pytest.mark.slow
def test_the_weights_kept_by_early_stopping_saw_no_later_step() -> None:
    tiny.rows("instruction")
    run("instruction", max_steps=40, micro_batch=4, evaluations=20, patience=2, learning_rate=0.1)
    log = [json.loads(line) for line in Path("out/training_log.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["eval_loss"] for row in log if "eval_loss" in row}
    best = min(losses, key=lambda step: losses[step])
    assert best < max(hooked())
    assert told() == {step: rows for step, rows in hooked().items() if step <= best}
