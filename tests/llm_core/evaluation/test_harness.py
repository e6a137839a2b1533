"""Our scores against lm-eval's own command line, on the same model and items."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from llm_core.evaluation.harness import score_benchmarks, score_over_seeds, summarize
from llm_core.evaluation.stage import load
from llm_core.evaluation.tasks import write_tasks
from llm_core.params.evaluation import Evaluation
from tests.llm_core.evaluation.conftest import ITEMS
from tests.warm import start


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 2])
def test_scores_equal_the_command_line_of_lm_eval_to_the_last_digit(
    gpt2: Path, benchmarks: Path, tmp_path: Path, shots: int
) -> None:
    names = [name for name in ITEMS if shots == 0 or len(ITEMS[name]) > 3]
    network, tokenizer = load(gpt2)
    ours = summarize(score_benchmarks(network, tokenizer, benchmarks, Evaluation(tasks=names, num_fewshot=shots)))
    write_tasks(names, benchmarks, tmp_path / "tasks")
    command = [start.python(), "-m", "lm_eval", "run", "--model", "hf",
               "--model_args", f"pretrained={gpt2},dtype=float32",
               "--tasks", *names, "--include_path", str(tmp_path / "tasks"), "--num_fewshot", str(shots),
               "--device", "cpu", "--batch_size", "32", "--output_path", str(tmp_path / "out")]  # fmt: skip
    # Its pool of processes that draw samples is forked beside threads, and has hung at its end.
    settings = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "DISABLE_MULTIPROC": "1"}
    settings["PYTHONPATH"] = str(start.HUB)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(next((tmp_path / "out").rglob("results*.json")).read_text())["results"]
    for name in names:
        compared = 0
        for key, value in theirs[name].items():
            metric = key.partition(",")[0]
            if metric == "perplexity_stderr" or not isinstance(value, float):
                continue  # theirs is a bootstrap, ours the delta method
            assert ours[name][metric] == value, (name, metric)
            compared += 1
        assert compared >= 2


def test_batches_of_1_and_32_differ_by_rounding_alone(gpt2: Path, benchmarks: Path) -> None:
    network, tokenizer = load(gpt2)
    names = ["lambada_openai", "arc_easy"]
    one, many = (
        score_benchmarks(network, tokenizer, benchmarks, Evaluation(tasks=names, batch_size=size)) for size in (1, 32)
    )
    assert [row["id"] for row in one] == [row["id"] for row in many]
    for a, b in zip(one, many, strict=True):
        assert a.get("acc") == b.get("acc") and a.get("acc_norm") == b.get("acc_norm")
        if "perplexity" in a:  # a log-likelihood in nats
            assert a["perplexity"] == pytest.approx(b["perplexity"], abs=1e-4)


@pytest.mark.slow
def test_several_draws_of_examples_are_averaged_and_their_spread_told(gpt2: Path, benchmarks: Path) -> None:
    network, tokenizer = load(gpt2)
    params = Evaluation(tasks=["arc_easy"], num_fewshot=2, fewshot_seeds=[1, 2])
    rows, spread = score_over_seeds(network, tokenizer, benchmarks, params)
    single = [score_benchmarks(network, tokenizer, benchmarks, params, seed) for seed in (1, 2)]
    for place, row in enumerate(rows):
        assert row["acc"] == pytest.approx(sum(one[place]["acc"] for one in single) / 2)
    means = [sum(row["acc"] for row in one) / len(one) for one in single]
    assert spread["arc_easy"]["seeds"] == 2
    assert spread["arc_easy"]["acc_seed_sd"] == pytest.approx(np.std(means, ddof=1))
    assert len({str(one) for one in single}) > 1, "another seed draws other examples"
    assert score_over_seeds(network, tokenizer, benchmarks, params.model_copy(update={"num_fewshot": 0}))[1] == {}


def test_clean_and_touched_items_make_up_all() -> None:
    rows = [{"task": "arc_easy", "id": str(n), "acc": float(n < 3), "acc_norm": 0.0} for n in range(6)]
    score = summarize(rows, {"arc_easy": {"0", "1"}})["arc_easy"]
    assert (score["items_touched"], score["items_clean"]) == (2, 4)
    assert score["acc"] == 0.5
    rows = [{"task": "piqa", "id": str(n), "acc": 0.0, "acc_norm": float(n < 3)} for n in range(6)]
    score = summarize(rows, {"piqa": {"0", "1"}})["piqa"]
    assert score["acc_norm_touched"] == 1.0 and score["acc_norm_clean"] == 0.25
