"""`ask` and `agent` as MLflow traces, by the real verbs in a real store."""

import json
from pathlib import Path

import mlflow
import pytest

from llm_core.retrieval.agent.loop import TEMPLATE
from llm_core.retrieval.reader import WITH_EVIDENCE
from llm_core.tracking import runs
from tests.llm_core.lineage.test_journey import main_exit
from tests.llm_core.retrieval.test_ask import model  # noqa: F401 - a fixture
from tests.llm_core.retrieval.test_index import TEXTS, built  # noqa: F401 - a fixture

SETTINGS = ("retrieval.prompt_tokens=120", "retrieval.answer_tokens=8", "retrieval.relevance=0.2", "retrieval.top=2",
            "agent.steps=2", "agent.answer_tokens=8")  # fmt: skip


@pytest.fixture
def project(built: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: F811
    """A folder without a store, entered; the options of a verb that uses the index and the model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it, for the rest of the process
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    return [
        "--model", str(model), "--index", str(built), *(word for setting in SETTINGS for word in ("--set", setting))
    ]  # fmt: skip


def recorded() -> list[mlflow.entities.Trace]:
    used = runs.client().get_experiment_by_name("llm-pipeline-use")
    return list(mlflow.search_traces(return_type="list", locations=[used.experiment_id])) if used else []


def test_a_question_is_a_trace_where_there_is_a_store(
    project: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "What is the capital of Japan?"
    assert main_exit(["ask", question, "--json", *project]) == 0
    first = json.loads(capsys.readouterr().out)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["params.yaml"]  # no store is made

    assert recorded() == []  # it makes one
    assert main_exit(["ask", question, "--json", *project]) == 0
    assert json.loads(capsys.readouterr().out) == first
    (trace,) = recorded()
    whole, search, call = trace.data.spans
    kinds = [(span.name, span.span_type) for span in trace.data.spans]
    assert kinds == [("ask", "CHAIN"), ("search", "RETRIEVER"), ("model", "LLM")]
    assert (search.inputs["query"], whole.outputs["answer"]) == (question, first["text"])
    best = search.outputs[0]
    assert (best["id"], best["metadata"]["document_id"], len(search.outputs)) == ("Japan#0", "Japan", 2)
    assert best["metadata"]["similarity"] == pytest.approx(first["similarity"])
    assert best["metadata"]["score"] > search.outputs[1]["metadata"]["score"] > 0
    assert not any(text in json.dumps(search.outputs) for text in TEXTS.values())
    assert "Tokyo is the capital of Japan." in call.inputs["prompt"] and question in call.inputs["prompt"]
    usage = call.attributes["mlflow.chat.tokenUsage"]
    assert 0 < usage["input_tokens"] <= 120 and 0 < usage["output_tokens"] <= 8
    assert whole.start_time_ns <= search.start_time_ns < search.end_time_ns <= call.start_time_ns < call.end_time_ns

    assert templates(trace) == {"ask": WITH_EVIDENCE}

    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    assert main_exit(["ask", question, *project]) == 0
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    assert len(recorded()) == 1

    assert main_exit(["agent", question, *project]) == 0
    (agent,) = (trace for trace in recorded() if trace.info.trace_id != whole.trace_id)
    assert [span.span_type for span in agent.data.spans][:2] == ["AGENT", "LLM"]
    assert question in agent.data.spans[1].inputs["prompt"]
    assert templates(agent) == {"agent": TEMPLATE}
    assert "{{tools}}" in TEMPLATE and '{"text": "its input"}' in TEMPLATE


def templates(trace: mlflow.entities.Trace) -> dict[str, str]:
    """Name -> text of the registered templates to which a trace is linked."""
    linked = json.loads(trace.info.tags["mlflow.linkedPrompts"])
    return {each["name"]: runs.client().get_prompt_version(each["name"], each["version"]).template for each in linked}
