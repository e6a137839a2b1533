"""What Dagster shows of a cleaning stage's sampled drops."""

import json
import re
from pathlib import Path

import dagster as dg
import pytest
from dvc.repo import Repo

from llm_core.formats.documents import COLUMNS, DocumentWriter
from llm_core.params import Params
from pipelines.checks import CHECKS, asset_checks, run_check
from pipelines.component import DvcProjectComponent, source_link
from pipelines.dvc_project import DvcProject
from pipelines.headlines import headlines
from pipelines.metadata import figures, mlflow_metadata, stage_metadata, table

DVC = """stages:
  clean:
    cmd: "true"
    outs: [clean/drops.jsonl]
"""


def test_sampled_drops_are_a_table_for_each_reason(tmp_path: Path) -> None:
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "clean").mkdir()
    drop = {"id": "1", "source": "a", "reason": "gopher_short_doc", "score": 3.0, "url": None, "language": "en",
            "characters": 17, "excerpt": "three | <i>\nwords"}  # fmt: skip
    other = drop | {"reason": "language", "score": None, "url": "http://b.org/", "excerpt": "Wort " * 200}
    (tmp_path / "clean/drops.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (drop, drop, other)))
    project = DvcProject(tmp_path)
    metadata = stage_metadata(project, project.stages["clean"])
    shown = str(metadata["samples of dropped documents"].value).splitlines()
    assert shown[:6] == [
        "**too few words**",
        "",
        "| score | characters | begins | url |",
        "| --- | --- | --- | --- |",
        *["| 3 | 17 | three &#124; &lt;i> words |  |"] * 2,
    ]
    assert shown[7] == "**in a language not wanted**" and "http://b.org/" in shown[-1] and len(shown[-1]) < 200


@pytest.mark.parametrize("text", ["a | b", "x\n\n# heading", "![x](http://evil)", "<script>1</script>",
                                  "[a](javascript:1)", "`code`"])  # fmt: skip
def test_text_from_data_stays_text_in_a_cell(text: str) -> None:
    shown = table((text, "b"), [(text, text)])
    assert {line.count("|") for line in shown.splitlines()} == {3}
    assert len(shown.splitlines()) == 3
    assert not any(mark in shown for mark in ("![", "](", "<script", "`", "\n#"))


def test_the_scores_of_a_benchmark_are_one_table_with_the_name_of_the_first_metric() -> None:
    scores = {f"acc_{number}": number / 10 for number in range(9)}
    shown = figures({"benchmarks": {"quiz": {**scores, "metric": "acc"}, "other": {**scores, "metric": "acc_norm"}}})
    assert list(shown) == ["benchmarks, quiz", "benchmarks, other"]
    assert str(shown["benchmarks, quiz"].value).splitlines()[2] == "| acc 8 | 0.8 |"
    last = str(shown["benchmarks, other"].value).splitlines()[-1]
    assert last == "| main metric | accuracy, answers weighed by their length |"


def test_a_stages_headline_figures_come_first_and_all_others_are_one_table(tmp_path: Path) -> None:
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text("stages:\n  clean:\n    cmd: 'true'\n    metrics: [clean/metrics.json]\n")
    (tmp_path / "clean").mkdir()
    counts = {"documents_in": 8, "documents_kept": 6, "documents_dropped": 2, "bytes_kept": 3_500_000}
    (tmp_path / "clean/metrics.json").write_text(json.dumps({**counts, "dropped_by_reason": {"too_short": 2}}))
    project = DvcProject(tmp_path)
    metadata = stage_metadata(project, project.stages["clean"])
    first = {"documents kept": 6.0, "documents dropped": 2.0, "documents dropped, %": 25.0, "text kept, MB": 3.5}
    assert dict(list(metadata.items())[:4]) == first and all(type(metadata[name]) is float for name in first)
    assert list(metadata)[4:] == ["all figures"]
    assert str(metadata["all figures"].value).splitlines() == [
        "| figure | value |",
        "| --- | --- |",
        "| bytes of text kept | 3500000 |",
        "| documents dropped | 2 |",
        "| documents kept | 6 |",
        "| documents read | 8 |",
        "",
        "**documents dropped, by reason**",
        "",
        "|  | value |",
        "| --- | --- |",
        "| too short | 2 |",
    ]


def test_no_key_is_left_in_tables_of_figures() -> None:
    """Sources and steps keep the user's names, figures and reasons have those for people."""
    sizes = {"<64": 2, "<128": 3, **{f"<{2**power}": power for power in range(8, 16)}}
    found = figures(
        {
            "by_source": {"my_web": {"bytes_in": 5, "documents_kept": 3}, "b": {"bytes_in": 6, "documents_kept": 1}},
            "length_characters": {"my_web": {"kept": sizes, "dropped": {"<64": 1}}},
            "benchmarks": {"arc_easy": {"acc_clean": 0.5, "acc_clean_low": 0.25}},
            "method": "instruction",
            "after": {"exact_match_open": {"mean": 0.5, "high": 0.6}, "heldout_loss": 2.0},
        }
    )
    shown = "\n".join(f"{name}: {getattr(value, 'value', value)}" for name, value in found.items())
    assert set(re.findall(r"[a-z]+_[a-z_]+", shown)) == {"my_web"}, shown
    assert "|  | bytes of text read | documents kept |" in shown and "| <16384 | 14 |" not in shown
    assert "ARC-Easy" in shown and "accuracy, on items that share no n-gram with a training document, lower" in shown
    assert "loss on held-out answers, nats per token: 2.0" in shown


def test_documents_show_what_their_columns_hold_and_where_they_come_from(tmp_path: Path) -> None:
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  download: {cmd: 'true', outs: [raw/documents, raw/ledger]}\n"
        "  benchmarks: {cmd: 'true', outs: [benchmarks]}\n"
        "  clean: {cmd: 'true', deps: [raw/documents, benchmarks], outs: [clean/documents]}\n"
    )
    (tmp_path / "benchmarks").mkdir()
    for stage in ("raw", "clean"):
        with DocumentWriter(tmp_path / stage / "documents") as writer:
            writer.write_rows([{"id": "1", "source": "web", "text": "some words"}])
    project = DvcProject(tmp_path)
    first, second = (stage_metadata(project, project.stages[name]) for name in ("download", "clean"))
    columns = {column.name: column for column in second["dagster/column_schema"].columns}
    assert set(columns) == COLUMNS and all(column.description for column in columns.values())
    assert columns["license"].description == "SPDX id of its licence, or public-domain."
    lineage = second["dagster/column_lineage"].deps_by_column
    assert {name: [dep.asset_key.path for dep in deps] for name, deps in lineage.items()} == {
        name: [["download"]] for name in COLUMNS
    }
    assert "dagster/column_lineage" not in first


def test_runs_and_versions_in_mlflow_are_linked() -> None:
    reported = {"mlflow_run_id": "abc", "mlflow_experiment_id": "3", "mlflow_model": "my model", "mlflow_version": "2"}
    reported |= {"mlflow_page": "report.html"}
    shown = {name: value.value for name, value in mlflow_metadata(reported, "http://mlflow/").items()}
    assert shown == {
        "MLflow run": "http://mlflow/#/experiments/3/runs/abc?workflowType=machine_learning",
        "report": "http://mlflow/#/experiments/3/runs/abc/artifacts/report.html?workflowType=machine_learning",
        "model version": "http://mlflow/#/models/my%20model/versions/2",
    }
    assert mlflow_metadata({}) == {}


def test_a_training_shows_its_curves_and_the_unusual_steps(tmp_path: Path) -> None:
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text("stages:\n  pretrain: {cmd: 'true', outs: [model]}\n")
    (tmp_path / "model").mkdir()
    documents = [{"id": "abc", "source": "web", "loss": 9.5}, {"id": "def", "source": "books", "loss": 7}]
    spike = {"value": 9.0, "median": 2.0, "skipped": False, "documents": documents}
    rows = [{"step": step, "loss": 3.0 - step / 10, "learning_rate": 0.1, "gradient_norm": 1.0} for step in (1, 2)]
    rows += [{"step": 3, "spike": "loss", **spike}, {"step": 3, "spike": "gradient_norm", **spike, "median": 1}]
    (tmp_path / "model/training_log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    project = DvcProject(tmp_path)
    metadata = stage_metadata(project, project.stages["pretrain"])
    for name in ("loss curve", "learning rate and gradient norm"):
        assert str(metadata[name].value).partition("(")[2].startswith("data:image/png;base64,")
    assert str(metadata["unusual steps"].value).splitlines()[2:] == [
        "| 3 | loss 9 (usually 2), gradient norm 9 (usually 1) | abc (web, loss 9.5), def (books, loss 7) "
        "| llm-core documents --model model --steps 2 |"
    ]


def test_headlines_have_names_and_units_for_people() -> None:
    score = {"acc_norm": 0.5, "metric": "acc_norm"}
    evaluation = {"bits_per_byte": {"all": {"bits_per_byte": 1.5}}, "benchmarks": {"piqa": score}}
    evaluation |= {"answers": {"exact_match": 0.25}}
    assert headlines("evaluate-run", evaluation) == {
        "held-out text, bits per byte": 1.5,
        "own questions, right answers, %": 25.0,
        "PIQA, right answers, %": 50.0,
    }
    tuned = {"method": "instruction", "after": {"exact_match": {"mean": 0.25, "low": 0.1}, "heldout_loss": 2.0}}
    assert headlines("finetune", tuned) == {
        "exact match on test questions": 0.25,
        "loss on held-out answers, nats per token": 2.0,
    }
    assert headlines("pretrain", {"heldout_bits_per_byte": None, "final_loss": float("nan"), "tokens": 2_000_000}) == {
        "tokens trained on, millions": 2.0
    }
    assert headlines("a stage of a user", {"tokens": 3}) == {}


def test_a_stage_links_to_its_lines_in_dvc_yaml(tmp_path: Path) -> None:
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text(
        "# a graph\nstages:\n  first: {cmd: 'true', outs: [a]}\n\n  many:\n    foreach: [x, y]\n    do: {cmd: 'true'}\n"
    )
    project = DvcProject(tmp_path)
    assert project.lines == {"first": 3, "many@x": 5, "many@y": 5}
    spec = DvcProjectComponent().get_asset_spec(project, project.stages["many@y"])
    (reference,) = spec.metadata["dagster/code_references"].code_references
    assert (reference.file_path, reference.line_number) == (str(tmp_path / "dvc.yaml"), 5)


def test_every_stage_links_to_the_module_of_its_verb() -> None:
    root = Path(__file__).parents[2]
    with DvcProject(root) as project:
        links = {name: source_link(project, stage).code_references[1:] for name, stage in project.stages.items()}
    assert len(links) > 20 and not [name for name, found in links.items() if len(found) != 1]
    assert links["clean@web"][0].file_path == str(root / "llm_core/cli/clean.py")


def test_a_verdict_shows_the_thresholds_that_it_was_judged_by(tmp_path: Path) -> None:
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text("stages:\n  pretrain: {cmd: 'true', outs: [model]}\n")
    (tmp_path / "params.yaml").write_text("checks: {loss_margin: 0.25}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/training_log.jsonl").write_text('{"step": 1, "loss": 3.0}\n')
    (tmp_path / "model/metrics.json").write_text('{"final_loss": 3.0, "heldout_bits_per_byte": 1.0}')
    (tmp_path / "model/training_data.json").write_text('{"tokens_digest": "abc"}')
    check = next(check for check in CHECKS if check.name == "loss")
    shown = str(run_check(tmp_path, "pretrain", check, None).metadata["threshold checks.loss_margin"].value)
    assert shown.startswith("0.25. Maximum excess of a model's held-out loss")
    known = {name: set(getattr(Params(), name).model_dump()) for name in ("checks", "deduplication")}
    for section, _, name in (key.partition(".") for check in CHECKS for key in check.thresholds):
        assert name in known[section]


def test_losses_are_compared_on_the_same_tokens_alone(tmp_path: Path) -> None:
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_text("stages:\n  pretrain: {cmd: 'true', outs: [model]}\n")
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / "model").mkdir()
    checks = list(asset_checks(DvcProject(tmp_path)))
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.all_asset_checks())
    definitions = dg.Definitions(asset_checks=checks, jobs=[job])
    with dg.DagsterInstance.ephemeral() as instance:
        for value, tokens, passes, said in (
            (3.0, "abc", True, "best accepted 3.0000"),
            (3.2, "abc", False, "above the best accepted 3.0000"),
            (5.0, "def", True, "a new comparison begins"),
            (5.2, "def", False, "above the best accepted 5.0000"),
            (4.0, "def", True, "best accepted 4.0000"),
        ):
            (tmp_path / "model/training_log.jsonl").write_text(json.dumps({"step": 1, "loss": value}))
            (tmp_path / "model/training_data.json").write_text(json.dumps({"tokens_digest": tokens}))
            done = definitions.resolve_job_def("checks").execute_in_process(instance=instance, raise_on_error=False)
            (evaluation,) = done.get_asset_check_evaluations()
            assert evaluation.passed == passes and said in str(evaluation.description)
