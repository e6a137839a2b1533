"""The ladder's settings, and its report on runs whose law is known."""

from pathlib import Path

import numpy as np
import pytest

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.runtime.storage import read_json, write_json
from llm_core.training.pretraining.figures import settings_digest
from llm_core.training.scaling.ladder import read_runs, rung_settings
from llm_core.training.scaling.report import report
from tests.llm_core.training.scaling.test_laws import hoffmann

SIZES, TOKENS = [1e6, 4e6, 16e6], [2e7, 1e8, 5e8]


def params(**scaling: object) -> Params:
    rungs = {f"n{n:.0f}-d{d:.0f}": {"tokens": int(d), "model": {"layers": 2}} for n in SIZES for d in TOKENS}
    settings = {"rungs": rungs, "bootstrap": 20, "compute_budget": 1e18, "pretraining": {"batch_tokens": 1000}}
    return Params.model_validate({"scaling": {**settings, **scaling}})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    noise = np.random.default_rng(1)
    for n in SIZES:
        for d in TOKENS:
            loss = float(hoffmann().predict(n, d) * np.exp(noise.normal(0, 1e-3)))
            figures = {"parameters": int(n), "embedding_parameters": int(n / 2), "tokens": int(d)}
            name = f"n{n:.0f}-d{d:.0f}"
            write_json(tmp_path / "runs" / f"{name}.json", {"heldout_bits_per_byte": loss, **figures})
    return tmp_path


def test_a_rung_is_the_project_with_its_overrides() -> None:
    project = params(pretraining={"batch_tokens": 1000, "optimizer": {"learning_rate": 0.01}})
    settings = rung_settings(project, "n4000000-d20000000")
    assert settings["model"]["layers"] == 2 and settings["pretraining"]["steps"] == 20_000
    assert settings["pretraining"]["optimizer"]["learning_rate"] == 0.01
    assert settings["pretraining"]["optimizer"]["clip"] == project.pretraining.optimizer.clip
    Params.model_validate(settings)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="has no 'x'"):
        rung_settings(params(), "x")
    with pytest.raises(ValueError, match="no such param: batch "):  # where params are read
        params(pretraining={"batch": 1})
    with pytest.raises(UserError, match="batch_tokens"):
        rung_settings(params(pretraining={"batch_tokens": None}), "n1000000-d20000000")


def test_a_rung_is_stale_only_where_its_own_settings_change(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    project, name = params(), "n1000000-d20000000"

    def digest(changed: Params) -> str:
        return settings_digest(rung_settings(changed, name), tmp_path, tmp_path)

    elsewhere = project.model_copy(update={"evaluation": project.evaluation.model_copy(update={"limit": 7})})
    assert digest(elsewhere) == digest(project)
    assert digest(params(pretraining={"batch_tokens": 1000, "z_loss": 0.1})) != digest(project)
    assert digest(project.model_copy(update={"seed": 2})) != digest(project)


def test_report_predicts_the_rung_it_has_not_seen(runs: Path) -> None:
    metrics = report(params(), runs)
    check = metrics["check"]
    assert check["rung"] == "n16000000-d500000000"
    assert abs(check["chinchilla"]["error"]) < 0.02
    best = metrics["recommendation"]
    assert best["parameters"] * best["tokens"] * 6 == pytest.approx(1e18, rel=1e-4)
    low, high = best["loss_interval"]
    assert low <= best["loss"] * 1.001 and best["loss"] <= high * 1.001
    assert read_json(runs / "laws" / "metrics.json") == metrics
    assert (runs / "laws" / "runs.csv").read_text().count("\n") == 10
    assert (runs / "laws" / "scaling.png").read_bytes()[:4] == b"\x89PNG"


def test_same_bytes_again(runs: Path) -> None:
    report(params(), runs)
    first = {file.name: file.read_bytes() for file in (runs / "laws").iterdir()}
    report(params(), runs)
    assert first == {file.name: file.read_bytes() for file in (runs / "laws").iterdir()}


def test_a_missing_rung_is_named(runs: Path) -> None:
    (runs / "runs" / "n1000000-d20000000.json").unlink()
    with pytest.raises(UserError, match="n1000000-d20000000 is not trained yet"):
        report(params(), runs)
    assert len(read_runs(runs, ["n1000000-d100000000"])) == 1


def test_too_few_rungs(runs: Path) -> None:
    few = dict(list(params().model_dump()["scaling"]["rungs"].items())[:5])
    with pytest.raises(UserError, match="5 rungs are too few"):
        report(params(rungs=few), runs)
