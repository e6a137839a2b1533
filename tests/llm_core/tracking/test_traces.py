"""Traces in a real sqlite store: spans with times, tokens and kinds; secrets out; a store that takes them no longer."""

import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from llm_core.tracking import runs, traces
from llm_core.tracking.traces import Step, Writer, keep

SECOND = 1_000_000_000
BEGAN = 1_700_000_000 * SECOND


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mlflow.db"


def recorded() -> list[mlflow.entities.Trace]:
    used = runs.client().get_experiment_by_name("llm-pipeline-use")
    return list(mlflow.search_traces(return_type="list", locations=[used.experiment_id]))


def refuse_traces(store: Path) -> None:
    """The store takes no trace from now on; MLflow raises nothing."""
    with closing(sqlite3.connect(store)) as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON trace_info BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        database.commit()


def test_a_trace_has_its_spans_and_a_store_that_refuses_them_is_named(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Step("AGENT", "agent", {"question": "1+1?"}, {"answer": "2"}, BEGAN, BEGAN + 9 * SECOND)
    call = Step("LLM", "model", {"prompt": "s3://me:hidden@b/x \ud800 " + "a" * 30_000}, {"text": "2"}, BEGAN + SECOND)
    call.ended, call.model, call.tokens_read, call.tokens_written = BEGAN + 3 * SECOND, "models/small", 7, 2
    tool = Step("TOOL", "calculator", {"text": "1+"}, None, BEGAN + 4 * SECOND, BEGAN + 4 * SECOND, error="no number")
    assert keep(lambda: (root, [call, tool]))
    (found,) = recorded()
    whole, model, calculator = found.data.spans
    assert [(span.name, span.span_type) for span in found.data.spans] == [
        ("agent", "AGENT"), ("model", "LLM"), ("calculator", "TOOL")
    ]  # fmt: skip
    assert (whole.inputs, whole.outputs, whole.status.status_code) == ({"question": "1+1?"}, {"answer": "2"}, "OK")
    assert whole.end_time_ns - whole.start_time_ns == 9 * SECOND
    assert model.end_time_ns - model.start_time_ns == 2 * SECOND and model.parent_id == whole.span_id
    assert model.attributes["mlflow.llm.model"] == "models/small"
    assert model.attributes["mlflow.chat.tokenUsage"] == {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    assert found.info.token_usage == {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    prompt = model.inputs["prompt"]
    assert prompt.startswith("s3://***@b/x ? aaa") and prompt.endswith("a… (10,015 more characters)")
    assert (calculator.status.status_code, calculator.attributes["error"]) == ("ERROR", "no number")
    assert "trace was not recorded" not in capsys.readouterr().err

    refuse_traces(store)
    assert not keep(lambda: (root, [tool]))
    assert "a trace was not recorded" in capsys.readouterr().err


def test_a_writer_never_makes_anyone_wait_and_counts_what_is_lost(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(traces, "WAITING", 2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    writer = Writer()
    for number in range(50):
        writer(lambda number=number: (Step("CHAIN", str(number), {}, {}), []))
    writer.close(60)
    told = capsys.readouterr().err
    assert "traces are lost" in told and "50 trace(s) were not recorded" in told
