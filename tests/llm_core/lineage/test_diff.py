"""Differences between two versions, counted by hand."""

import json
import shutil

import pytest

from llm_core.errors import UserError
from llm_core.formats import documents
from llm_core.formats.pages import Block, to_html
from llm_core.lineage.diff import _declared, diff
from llm_core.params.evaluation import Gate
from tests.llm_core.lineage.conftest import IDS
from tests.llm_core.lineage.test_journey import main_exit


def test_documents_added_removed_changed_and_why(project):
    before = project / "before"
    with documents.DocumentWriter(before / "documents") as writer:
        for batch in documents.read_documents(project / "data/clean/web"):
            rows = batch.to_pylist()
            rows[0]["text"] += " once"  # changed since
            writer.write_rows([row for row in rows if row["id"] != IDS[7]])  # 7 was added since
    found = diff(before, project / "data/dedup", Gate(), 1)
    assert found.sources == [{"source": "web", "before": 38, "after": 38, "added": 1, "removed": 1, "changed": 1}]
    assert found.reasons == [{"source": "web", "stage": "dedup", "reason": "exact_duplicate", "documents": 1}]
    assert not found.same
    assert diff(before, before, Gate(), 1).same


def test_models_trained_for_longer_on_the_same_data(project):
    shutil.copytree(project / "data/models/base", project / "data/models/longer")
    record = json.loads((project / "data/models/base/training_data.json").read_text())
    record["steps"] = 1  # one step of 4 sequences, each one document
    (project / "data/models/base/training_data.json").write_text(json.dumps(record))
    found = diff(project / "data/models/base", project / "data/models/longer", Gate(), 1)
    assert found.sources[0]["before"] == 4
    assert found.sources[0]["after"] == 38
    assert found.sources[0]["removed"] == 0
    assert found.settings == [{"setting": "steps", "before": 1, "after": 21}]


def test_scores_of_two_models_are_paired_on_common_items(project):
    shutil.copytree(project / "data/models/base", project / "data/models/longer")
    for name, right in (("base", 3), ("longer", 9)):
        folder = project / "data/evaluation" / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"task": "exact_match", "id": str(n), "exact_match": float(n < right)} for n in range(12)]
        rows.append({"task": "exact_match", "id": f"only {name}", "exact_match": 1.0})
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = diff(project / "data/models/base", project / "data/models/longer", Gate(), 1)
    (row,) = found.improvements
    assert (row["metric"], row["items"], row["improvement"]) == ("exact_match", 12, 0.5)
    assert 0 < row["low"] < 0.5 < row["high"] < 1
    assert "| exact_match | 12 | 0.5 |" in found.markdown()


def test_a_metric_that_cannot_be_paired_says_why_and_the_others_are_shown(project):
    shutil.copytree(project / "data/models/base", project / "data/models/longer")
    for name, right in (("base", 3), ("longer", 9)):
        folder = project / "data/evaluation" / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"task": task, "id": str(n), key: float(n < right)} | ({"country": "Chad"} if key == task else {})
                for task, key in (("exact_match", "exact_match"), ("my_quiz", "acc")) for n in range(12)]  # fmt: skip
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = diff(project / "data/models/base", project / "data/models/longer", Gate(), 1)
    own, quiz = found.improvements
    assert (quiz["metric"], quiz["improvement"], quiz["why not"]) == ("my_quiz", 0.5, None)
    assert own["improvement"] is None and "all 12 common items are of one group (Chad)" in own["why not"]
    assert own["why not"] in found.markdown()


def test_two_of_different_kinds(project):
    with pytest.raises(UserError, match="two of a kind"):
        diff(project / "data/models/base", project / "data/dedup", Gate(), 1)


def test_the_page_and_the_command_line(project, capsys):
    assert main_exit(["diff", "data/clean/web", "data/dedup", "--out-file", "diff.html"]) == 0
    assert "| web | dedup | exact_duplicate | 1 |" in capsys.readouterr().out
    page = (project / "diff.html").read_text()
    assert ">exact_duplicate</td>" in page
    assert "http" not in page.replace("https://host", "")


def test_numbers_and_words_stay_whole_on_a_narrow_page():
    page = to_html(
        [
            Block(
                "table",
                [{"metric": "evaluation.benchmarks.arc_easy.acc_stderr", "source": "factbook", "after": 0.0316526}],
            )
        ]
    )
    assert "td.number, th.number { text-align: right; white-space: nowrap; }" in page
    assert '<td class="number" data-label="after">0.03165</td>' in page
    assert '<td data-label="source">factbook</td>' in page
    assert "evaluation.<wbr>benchmarks.<wbr>arc_<wbr>easy.<wbr>acc_<wbr>stderr" in page


def test_params_of_a_model_are_those_that_its_stage_had(tmp_path):
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/models/base").mkdir(parents=True)
    stages = {
        "pretrain": {
            "outs": [{"path": "data/models/base"}, {"path": "data/models/base/loss.csv"}],
            "params": {"params.yaml": {"seed": 3, "pretraining": {"optimizer": {"learning_rate": 0.001}}}},
        },
        "other": {"outs": [{"path": "data/other"}], "params": {"params.yaml": {"seed": 4}}},
    }
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": stages}))
    found = {"params.seed": 3, "params.pretraining.optimizer.learning_rate": 0.001}
    assert _declared(tmp_path / "data/models/base") == found == _declared(tmp_path / "data/models/base/snapshots/9")
    assert _declared(tmp_path / "data/models/unknown") == {} == _declared(tmp_path)

    (tmp_path / "experiments/side").mkdir(parents=True)
    (tmp_path / "experiments/side/dvc.yaml").write_text("stages: {bert: {do: {wdir: ../..}}}")
    stages = {"bert@1": {"outs": [{"path": "data/models/bert"}], "params": {"params.yaml": {"seed": 5}}}}
    (tmp_path / "experiments/side/dvc.lock").write_text(json.dumps({"stages": stages}))
    assert _declared(tmp_path / "data/models/bert") == {"params.seed": 5}
    assert _declared(tmp_path / "data/models/base") == found


def test_two_finetunes_of_one_model_differ_by_their_own_params(project):
    shutil.copytree(project / "data/models/instruction", project / "data/models/other")
    stages = {"pretrain": {"outs": [{"path": "data/models/base"}], "params": {"params.yaml": {"pretraining": 1}}}}
    for name, rate in (("instruction", 0.1), ("other", 0.2)):
        params = {"params.yaml": {"seed": 1, f"finetuning.runs.{name}": {"method": "dpo", "learning_rate": rate}}}
        stages[f"finetune@{name}"] = {"outs": [{"path": f"data/models/{name}"}], "params": params}
    (project / "dvc.lock").write_text(json.dumps({"stages": stages}))
    found = diff(project / "data/models/instruction", project / "data/models/other", Gate(), 1)
    assert found.settings == [{"setting": "params.finetuning.runs.NAME.learning_rate", "before": 0.1, "after": 0.2}]
