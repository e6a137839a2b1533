"""An evaluation that is killed goes on where it was, with the same bytes; its batches are lm-eval's own."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_core.evaluation.harness_model import generation_batches, harness_model, likelihood_batches, with_begin_token
from llm_core.evaluation.journal import SCRATCH, Journal
from llm_core.evaluation.stage import load
from tests.llm_core.tiny_gpt2 import SENTENCES
from tests.warm import start

ROOT = Path(__file__).parents[3]


def test_a_value_is_computed_once_and_a_line_cut_short_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = Journal("model")
    assert first.value("sum", [1, 2], lambda: [0.1, float("-inf")]) == [0.1, float("-inf")]
    assert first.value("sum", [1, 3], lambda: [4]) == [4]
    (file,) = SCRATCH.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])  # as a kill leaves it
    second = Journal("model")
    assert second.value("sum", [1, 2], lambda: pytest.fail("computed again")) == [0.1, float("-inf")]
    assert second.value("sum", [1, 3], lambda: [5]) == [5], "this line was cut short"
    assert second.value("product", [1, 2], lambda: [2]) == [2], "another kind of unit"
    third = Journal("model")
    assert [third.value("sum", [1, 3], list), third.value("product", [1, 2], list)] == [[5], [2]]
    assert Journal("other").value("sum", [1, 2], lambda: [7]) == [7]
    third.finish()
    assert not file.exists() and Journal().value("sum", [1, 2], lambda: [8]) == [8]


def test_batches_are_those_of_lm_evals_collator() -> None:
    from lm_eval.models.utils import Collator

    draw = random.Random(3)
    requests = []
    for number in range(60):
        context = [draw.randrange(3) for _ in range(draw.randrange(1, 6))]
        requests.append(((str(number), ""), context, [draw.randrange(3) for _ in range(draw.randrange(1, 3))]))
    collator = Collator(
        requests, sort_fn=lambda one: (-len(one[1] + one[2]), tuple(one[1] + one[2])), group_by="contexts",
        group_fn=lambda one: one[-2] + one[-1][:-1],
    )  # fmt: skip
    theirs = [[tuple(context + answer[:-1]) for _, context, answer in batch] for batch in collator.get_batched(n=4)]
    ours = [
        list(dict.fromkeys(tuple(requests[place][1] + requests[place][2][:-1]) for place in batch))
        for batch in likelihood_batches(requests, 4)
    ]
    assert ours == theirs and len(ours) > 5
    collator = Collator(requests, sort_fn=lambda one: (-len(one[1] + one[2]), tuple(one[1] + one[2])))  # seq2seq
    alone = [[requests[place] for place in batch] for batch in likelihood_batches(requests, 4, shared=False)]
    assert alone == [list(batch) for batch in collator.get_batched(n=4)]
    prompts: list[tuple[str, dict[str, Any]]] = [("a" * draw.randrange(1, 9), {"until": [end]}) for end in "xyx" * 9]
    collator = Collator(prompts, sort_fn=lambda one: (-len(one[0]), one[0]), group_by="gen_kwargs")
    asked = [
        [prompts[place] for place in batch] for batch in generation_batches(prompts, [len(p) for p, _ in prompts], 4)
    ]
    assert asked == [list(batch) for batch in collator.get_batched(n=4)]


def test_answers_equal_lm_evals_own_class_to_the_last_digit(gpt2: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    network, tokenizer = load(gpt2)
    settings: dict[str, Any] = {"pretrained": network, "tokenizer": tokenizer, "batch_size": 4, "device": "cpu"}
    pairs = [(text[: 7 + n], f" {word}") for n, text in enumerate(SENTENCES) for word in text.split()]
    asked = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    given = [Instance("generate_until", {}, (text, {"until": ["\n"], "max_gen_toks": 5}), 0) for text, _ in pairs]
    ours, theirs = harness_model(False, Journal())(**settings), HFLM(**settings)
    assert ours.loglikelihood(asked, disable_tqdm=True) == theirs.loglikelihood(asked, disable_tqdm=True)
    assert ours.generate_until(given, disable_tqdm=True) == theirs.generate_until(given, disable_tqdm=True)


def test_a_batch_of_the_same_text_in_other_tokens_is_computed(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where evaluation.add_bos_token has changed since the run was stopped."""
    from lm_eval.api.instance import Instance

    monkeypatch.chdir(tmp_path)
    network, tokenizer = load(gpt2)
    asked = [Instance("generate_until", {}, (text, {"until": ["x"], "max_gen_toks": 2}), 0) for text in SENTENCES[:2]]
    for begin in (False, True, True):
        taught, flag = with_begin_token(tokenizer, begin)
        model = harness_model(False, Journal("model"))(
            pretrained=network, tokenizer=taught, add_bos_token=flag, batch_size=4, device="cpu"
        )
        model.generate_until(asked, disable_tqdm=True)
    (file,) = SCRATCH.iterdir()
    assert len([line for line in file.read_text().splitlines() if line]) == 2


KILLS = int(os.environ.get("LLM_CORE_KILLS", "20"))
PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import lm_eval.models.huggingface, datasets, lm_eval.tasks
from llm_core.evaluation.stage import evaluate
from llm_core.params import Params

settings = {"tasks": ["piqa", "asked"], "batch_size": 1, "prompts": [],
             "language_modelling": {"context": 16, "stride": 4, "untrained": True}}
params = Params.model_validate({"evaluation": settings})

def start(out):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(f"{out}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
        evaluate(Path(sys.argv[1]), Path(out), params, inputs=["held.txt"], benchmarks=Path("benchmarks"))
        os._exit(0)
    return child

def lines():
    try:
        return sum(file.read_bytes().count(b"\\n") for file in Path(".scratch/evaluation").glob("*"))
    except FileNotFoundError:  # complete just now
        return 0

def ended(child):
    pid, status = os.waitpid(child, os.WNOHANG)
    assert status == 0, status
    return pid != 0

begun, most = time.monotonic(), 0
child = start("whole")
while not ended(child):
    most = max(most, lines())
    time.sleep(0.001)
longest = time.monotonic() - begun
draw, moments = random.Random(7), []
while len(moments) < int(sys.argv[2]):
    by_time = len(moments) % 3 == 2  # otherwise by the number of batches
    target = lines() + draw.randint(1, max(most // 3, 1))
    until = time.monotonic() + draw.uniform(0, longest)
    child = start("killed")
    while not (gone := ended(child)) and (time.monotonic() < until if by_time else lines() < target):
        time.sleep(0.001)
    if not gone:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        moments.append(lines())
assert os.waitpid(start("killed"), 0)[1] == 0
print(len(set(moments)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", [6, pytest.param(KILLS, marks=pytest.mark.long)])
def test_kills_at_random_moments_leave_identical_results(
    gpt2: Path, benchmarks: Path, tmp_path: Path, kills: int
) -> None:
    (tmp_path / "held.txt").write_text(" ".join(SENTENCES) * 2)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/piqa.jsonl").write_bytes((benchmarks / "piqa.jsonl").read_bytes())
    rows = [{"question": f"{text} {n}?", "answer": "yes"} for n, text in enumerate(SENTENCES)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "params.yaml").write_text("{}")
    own = "{tasks: [], own: {asked: {path: asked.jsonl, kind: f1, max_new_tokens: 6}}}"
    variables = os.environ | {"PYTHONPATH": str(ROOT), "LLM_CORE_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    command = [start.python(), "-m", "llm_core.cli", "fetch-benchmarks", "--out", "own"]
    command += ["--set", f"evaluation.benchmarks={own}"]
    subprocess.run(command, cwd=tmp_path, env=variables, check=True)
    for file in (tmp_path / "own").iterdir():
        (tmp_path / "benchmarks" / file.name).write_bytes(file.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(gpt2), str(kills)], cwd=tmp_path, env=variables, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("results.jsonl", "metrics.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "batches were computed by an earlier run" in (tmp_path / "killed.log").read_text()
    assert int(done.stdout.split()[-1]) > 3, "the kills came after different numbers of batches"
    assert not list((tmp_path / SCRATCH).iterdir())
