"""Requests as MLflow traces: by the real server into a real store, and what is read from an answer's bytes."""

import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from llm_core.serving.record import Record, read_answer
from llm_core.tracking import runs
from tests.llm_core.serving.conftest import ask, started


def test_what_an_answer_says_is_read_from_its_bytes() -> None:
    row = {"embedding": [0.5, 0.5]}
    assert read_answer(json.dumps({"data": [row, row], "usage": {"prompt_tokens": 4}}).encode()) == {
        "usage": {"prompt_tokens": 4}, "vectors": 2
    }  # fmt: skip
    assert read_answer(b'{"data": [{"label": "sport"}]}') == {"data": [{"label": "sport"}]}
    events = [{"choices": [{"delta": {"content": text}}]} for text in ("On", "ly")]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}})
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    whole = {"text": "Only", "finish_reason": "stop", "usage": {"completion_tokens": 2}}
    assert read_answer(stream + b"data: [DONE]\n\n") == whole
    assert read_answer(stream[:-9]) == {"text": "Only"} and read_answer(b"") == {}


def test_a_client_that_left_has_a_trace_without_an_answer() -> None:
    record = Record("/v1/chat/completions", "small", {"messages": [], "seed": 1})
    record.end()
    waiting, none = record.steps()
    assert "the client left" in waiting.error and none == []
    record.begin()
    whole, (call,) = record.steps()
    assert (call.kind, call.inputs, call.outputs, call.tokens_written) == ("CHAT_MODEL", {"messages": []}, {}, None)
    assert call.error == whole.error and whole.inputs == {"messages": [], "seed": 1}


@pytest.mark.slow
def test_each_answered_request_is_a_trace_and_a_broken_store_fails_none(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    assert recorded() == []  # it makes the store, which two processes cannot do at once
    body = {"prompt": "The river http://me:hidden@host/", "temperature": 0, "max_tokens": 5}
    with started(gpt2, "traces=true") as (port, process):
        answer = json.loads(ask(port, "/v1/completions", body)[1])
        assert ask(port, "/v1/completions", body | {"n": 3})[0] == 400  # comes to no model
        assert ask(port, "/v1/completions", body | {"stream": True})[0] == 200
        deadline = time.monotonic() + 120
        while len(traces := recorded()) < 2:
            assert time.monotonic() < deadline, "the requests are not in the store"
            time.sleep(0.5)
        with closing(sqlite3.connect(store, timeout=60)) as database:
            database.execute("CREATE TRIGGER f BEFORE INSERT ON trace_info BEGIN SELECT RAISE(ABORT, 'disk full'); END")
            database.commit()
        assert json.loads(ask(port, "/v1/completions", body)[1])["choices"] == answer["choices"]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "1 trace(s) were not recorded" in err and len(recorded()) == 2

    asked = {"prompt": "The river http://***@host/", "temperature": 0, "max_tokens": 5}
    text, usage = answer["choices"][0]["text"], answer["usage"]
    for trace, streamed in zip(traces, (False, True), strict=True):
        whole, call = trace.data.spans
        assert (whole.name, call.name, call.span_type) == ("/v1/completions", "model", "LLM")
        assert whole.inputs == (asked | {"stream": True} if streamed else asked)
        assert call.inputs == {"prompt": asked["prompt"]} and whole.outputs["status"] == 200
        assert call.outputs["text"].rstrip("\ufffd") == text.rstrip("\ufffd")
        assert call.outputs["finish_reason"] == "length" and call.attributes["mlflow.llm.model"] == gpt2.name
        used = call.attributes["mlflow.chat.tokenUsage"]
        assert (used["input_tokens"], used["output_tokens"]) == (usage["prompt_tokens"], 5)
        assert whole.start_time_ns <= call.start_time_ns < call.end_time_ns == whole.end_time_ns


def recorded() -> list[mlflow.entities.Trace]:
    """The traces so far, oldest first."""
    used = runs.client().get_experiment_by_name("llm-pipeline-use")
    found = mlflow.search_traces(return_type="list", locations=[used.experiment_id]) if used else []
    return sorted(found, key=lambda trace: int(trace.info.request_time))
