"""Promotion, refusal and rollback on a real tracking store."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.evaluation.gate import gate_of, judge
from llm_core.params import Params
from llm_core.params.evaluation import Gate
from llm_core.runtime.digests import content_digest
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

    from llm_core.tracking import registry, versions

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    gate, name = partial(judge, gate=Gate(), seed=0), "language-model-base"

    def run(model: Path, evaluation: Path, score: float) -> dict[str, Any]:
        lines = [f"score: {score}"]
        record = registry.register(model, evaluation, {"score": score}, gate, tmp_path / "record.json", name, lines)
        assert registry.promote_record(tmp_path / "record.json", tmp_path / "promotion.json") == record["passed"]
        return record

    folders = {}
    decided = {}
    for kind, shift in (("first", 0.0), ("worse", -0.05), ("better", 0.05)):
        folders[kind] = _model(tmp_path, gpt2, kind, shift)
        decided[kind] = run(*folders[kind], shift)["passed"]
    assert decided == {"first": True, "worse": False, "better": True}
    store = versions.Registry(name)
    assert (store.version("champion"), store.version("challenger")) == ("3", "3")
    assert store.tags("2")["gate"].startswith("failed: not better")
    with pytest.raises(UserError, match="no version 9"):
        registry.promote("9", gate, name)
    assert registry.promote("2", gate, name)[0] is False

    def digest(kind: str) -> str:
        return content_digest(folders[kind][0])

    before = {kind: registry.previous_champion(name, digest(kind)) for kind in folders}
    assert {kind: found and found[0] for kind, found in before.items()} == {"first": "3", "worse": "3", "better": "1"}

    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert len(loaded.predict(["The river"], params={"max_new_tokens": 3})) == 1
    assert [param.name for param in loaded.metadata.signature.params] == ["max_new_tokens"]
    linked = mlflow.get_logged_model(loaded.model_id)
    assert {metric.key: metric.value for metric in linked.metrics}["score"] == 0.05

    described = mlflow.MlflowClient().get_model_version(name, "2").description
    assert "**Gate failed: not better" in described and "- score: -0.05" in described and "[register " in described
    assert run(*folders["better"], 0.05)["version"] == "3" and len(registry.listing(name)) == 3
    model, evaluation = folders["better"]
    with open(evaluation / "results.jsonl", "a") as stream:  # the champion, on one document more
        row = {"task": "bits_per_byte", "source": "a", "id": "more", "bits": 2000.0, "bytes": 900}
        stream.write(json.dumps(row) + "\n")
    anew = run(model, evaluation, 0.05)
    assert anew["passed"] and anew["version"] == "4" and "evaluated again" in anew["reason"]
    same = [mlflow.MlflowClient().get_model_version(name, version).source for version in ("3", "4")]
    assert same[0] == same[1], "a model has one logged model, however often it is evaluated"
    judged_by = [len((store.evaluation(version) / "results.jsonl").read_text().splitlines()) for version in "34"]
    assert judged_by[1] == judged_by[0] + 1, "each version keeps the evaluation that it was judged by"
    assert registry.rollback(name) == ("4", "1")
    assert store.version("champion") == "1"
    with pytest.raises(UserError, match="first champion"):
        registry.rollback(name)

    child, judged = _model(tmp_path, gpt2, "child", 0.1)  # finetuned from a registered version
    parent = {"path": str(folders["better"][0]), "digest": digest("better")}
    (child / "metrics.json").write_text(json.dumps({"parent": parent}))
    (judged / "about.json").write_text(json.dumps({"model": str(child), "digest": content_digest(child)}))
    told = registry.register(child, judged, {}, gate, tmp_path / "child.json", "language-model-child")
    tags = versions.Registry("language-model-child").tags(told["version"])
    assert (tags["parent_digest"], tags["parent_version"]) == (digest("better"), f"{name}/4")

    (model / "note.json").write_text("changed")
    with pytest.raises(UserError, match="evaluate it again"):
        registry.register(model, evaluation, {}, gate, tmp_path / "x.json", name)


def test_each_model_has_its_own_gate() -> None:
    runs = {
        "instruction": {},
        "mood": {"method": "classification"},
        "own": {"method": "dpo", "gate": {"metrics": ["piqa"]}},
    }
    params = Params.model_validate({"finetuning": {"runs": runs}, "evaluation": {"gate": {"margin": 0.5}}})
    assert gate_of("base", params).metrics == ["bits_per_byte"]
    assert gate_of("instruction", params).metrics == ["exact_match"]
    assert (gate_of("mood", params).metrics, gate_of("mood", params).margin) == (["accuracy"], 0.5)
    assert gate_of("own", params).metrics == ["piqa"]
