"""Promotion, refusal and rollback on a real tracking store."""

import json
from functools import partial
from pathlib import Path

import pytest

from llm_core.digests import content_digest
from llm_core.errors import UserError
from llm_core.evaluation.gate import judge
from llm_core.params.evaluation import Gate
from tests.llm_core.evaluation.test_gate import _results


def _model(folder: Path, source: Path, name: str, shift: float) -> tuple[Path, Path]:
    import shutil

    model, evaluation = folder / name, folder / f"evaluation-{name}"
    shutil.copytree(source, model)
    (model / "note.json").write_text(json.dumps(name))
    evaluation.mkdir()
    (evaluation / "about.json").write_text(json.dumps({"model": str(model), "digest": content_digest(model)}))
    rows = _results(shift)["bits_per_byte"]
    (evaluation / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return model, evaluation


@pytest.mark.slow
def test_registry_promotes_refuses_and_rolls_back(gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    from llm_core import registry, tracking

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    gate = partial(judge, gate=Gate(), seed=0)
    decided = {}
    for name, shift in (("first", 0.0), ("worse", -0.05), ("better", 0.05)):
        model, evaluation = _model(tmp_path, gpt2, name, shift)
        decided[name] = registry.register(model, evaluation, {"score": shift}, gate, tmp_path / f"{name}.json")
    assert decided == {"first": True, "worse": False, "better": True}
    store = tracking.Registry(registry.NAME)
    assert (store.version("champion"), store.version("challenger")) == ("3", "3")
    assert store.tags("2")["gate"].startswith("failed: not better")
    with pytest.raises(UserError, match="no version 9"):
        registry.promote("9", gate)
    assert registry.promote("2", gate)[0] is False

    loaded = mlflow.pyfunc.load_model(f"models:/{registry.NAME}@champion")
    assert len(loaded.predict(["The river"], params={"max_new_tokens": 3})) == 1
    linked = mlflow.get_logged_model(loaded.model_id)
    assert {metric.key: metric.value for metric in linked.metrics}["score"] == 0.05

    again = registry.register(tmp_path / "better", tmp_path / "evaluation-better", {}, gate, tmp_path / "again.json")
    assert again and len(registry.listing()) == 3
    assert registry.rollback() == ("3", "1")
    assert store.version("champion") == "1"
    with pytest.raises(UserError, match="first champion"):
        registry.rollback()

    (tmp_path / "better" / "note.json").write_text("changed")
    with pytest.raises(UserError, match="evaluate it again"):
        registry.register(tmp_path / "better", tmp_path / "evaluation-better", {}, gate, tmp_path / "x.json")
