"""A finished WSD run goes on from before its decay, and ends with the bytes of the long run; runs end early."""

import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from llm_core.errors import UserError
from llm_core.params.pretraining import Optimizer, Pretraining
from llm_core.runtime import json_lines
from llm_core.training.pretraining.assemble import _check_length
from llm_core.training.pretraining.phases import plan_phases
from llm_core.training.pretraining.schedule import learning_rate_share, stable_steps
from llm_core.training.pretraining.stability import no_better
from tests.llm_core.training.pretraining import kills, tiny

SETTINGS = {
    "pretraining__optimizer__schedule": "wsd", "pretraining__optimizer__decay_share": 0.25,
    "pretraining__snapshot_every": 3, "pretraining__evaluate_every": 2, "pretraining__early_stopping": 2,
}  # fmt: skip


@pytest.mark.slow
def test_an_extended_run_has_the_bytes_of_the_long_one(tmp_path: Path) -> None:
    """Also where it is killed on its way and resumed; early stopping goes on with the measurements before."""
    (tmp_path / "whole").mkdir()
    folder = tiny.make(tmp_path / "whole")
    shutil.copytree(folder, tmp_path / "extended")
    extended = tmp_path / "extended"
    short = tiny.run(extended, "short", pretraining__extendable=True, pretraining__steps=8, **SETTINGS)
    assert short.returncode == 0, short.stderr
    longer = {"pretraining__extendable": True, "pretraining__steps": 14, **SETTINGS}
    killed, said = kills.interrupt(extended, 8, "long", **longer)
    assert "goes on after step 6 of an earlier run that began alike, to step 14" in said, said
    logs = extended.glob(".scratch/pretraining/*/training_log.jsonl")
    (log,) = (file for file in logs if not file.parent.name.startswith("beginning-"))
    assert killed >= 8 and len([row for row in json_lines.load_rows(log, cut_short=True) if "loss" in row]) < 14
    long = tiny.run(extended, "long", **longer)
    assert long.returncode == 0 and "resumed after step" in long.stderr, long.stderr
    whole = tiny.run(folder, "long", pretraining__steps=14, **SETTINGS)
    assert whole.returncode == 0, whole.stderr
    names = ["training_log.jsonl", "metrics.json", *(f"{part}model.safetensors" for part in (
        "", "snapshots/step00000003/", "snapshots/step00000006/", "snapshots/step00000012/"))]  # fmt: skip
    for name in names:
        assert (extended / "long" / name).read_bytes() == (folder / "long" / name).read_bytes(), name
    kept = list(extended.glob(".scratch/pretraining/beginning-*/step*/complete.json"))
    assert [file.parent.name for file in kept] == ["step00000010"]  # of the longer run
    assert not list(folder.glob(".scratch/pretraining/*/step*"))


@pytest.mark.slow
def test_a_run_that_ends_early_between_logged_steps_logs_the_loss_of_each_source(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    done = tiny.run(
        folder, pretraining__log_every=100, pretraining__evaluate_every=2, pretraining__early_stopping=1,
        pretraining__optimizer__learning_rate=1e-30, pretraining__checkpoint_every=50,
    )  # fmt: skip
    assert done.returncode == 0 and "training ends early, after step 4 of 12" in done.stderr, done.stderr
    (row,) = [row for row in json_lines.load_rows(folder / "out" / "training_log.jsonl") if "loss" in row]
    assert row["step"] == 4 and {*row} >= {"loss/x", "loss/y"}


def test_the_stable_part_ends_where_the_rate_falls() -> None:
    optimizer = Optimizer(schedule="wsd", warmup_steps=2, decay_share=0.25)
    assert stable_steps(8, optimizer) == 6  # the decay takes a quarter
    shares = [learning_rate_share(step, 8, optimizer) for step in range(8)]
    assert shares[2:6] == [1.0] * 4 and shares[6] < 1
    assert stable_steps(8, Optimizer(schedule="cosine", warmup_steps=2)) == 3
    assert stable_steps(8, Optimizer(schedule="wsd", warmup_steps=8)) == 0, "a longer run would warm up in 9 steps"


def test_a_knob_that_could_have_no_effect_in_a_short_run_is_refused() -> None:
    def check(heldout: bool = True, steps: int = 8, **settings: object) -> None:
        pretraining = Pretraining.model_validate(
            {"sequence_length": 8, "batch_tokens": 8, "micro_batch": 1, "evaluate_every": 2} | settings
        )
        _check_length(pretraining, plan_phases(pretraining, 8, steps, 1), heldout)

    check(extendable=True, optimizer={"schedule": "wsd", "warmup_steps": 7}, early_stopping=2)
    with pytest.raises(UserError, match=r"a run of 8 steps is no longer than its warm-up of 8"):
        check(extendable=True, optimizer={"schedule": "wsd", "warmup_steps": 8})
    with pytest.raises(UserError, match="early_stopping needs tokens with a held-out side"):
        check(heldout=False, early_stopping=2)
    with pytest.raises(UserError, match=r"early_stopping 3 cannot end a run of 8 steps, which is measured 3 times"):
        check(early_stopping=3)


def test_only_runs_that_begin_alike_can_be_extended() -> None:
    with pytest.raises(ValidationError, match=r"extendable needs optimizer.schedule wsd"):
        Pretraining.model_validate({"extendable": True})
    with pytest.raises(ValidationError, match="final_share 1 there is no decay"):
        Pretraining.model_validate({"extendable": True, "optimizer": {"schedule": "wsd", "final_share": 1}})
    with pytest.raises(ValidationError, match="laid out for the length of a run"):
        Pretraining.model_validate(
            {"extendable": True, "optimizer": {"schedule": "wsd"}, "mixture": {"weights": {"x": 1}}}
        )


def test_patience_counts_measurements_without_a_better_one() -> None:
    figures = [3.0, 2.0, 2.5, 2.0, 1.9]
    assert [no_better(figures[:count], 2) for count in range(6)] == [False, False, False, False, True, False]
    assert not no_better([1.0, 2.0, 3.0], 0)
