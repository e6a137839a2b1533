"""The endpoint, started as a user starts it and asked over plain HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.llm_core.serving.conftest import ask, started, wait_for
from tests.waiting import free_port

HALF = "\ufffd"  # a character of which max_tokens cut off a byte: never streamed
LIMITS = ("waiting=1", "concurrent=2", "new_tokens=40")
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def model(gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import shutil

    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("served") / "small"
    shutil.copytree(gpt2, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def port(model: Path) -> Iterator[int]:
    with started(model, *LIMITS) as (number, _):
        yield number


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.slow
def test_answers_are_the_models_own_whole_and_streamed(port: int, model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    inputs = tokenizer("The river", return_tensors="pt")
    written = network.generate(**inputs, do_sample=False, max_new_tokens=8, pad_token_id=0)[0]
    expected = tokenizer.decode(written[inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    asked = {"model": "small", "prompt": "The river", "temperature": 0, "max_tokens": 8}
    status, text = ask(port, "/v1/completions", asked)
    answer = json.loads(text)
    assert status == 200 and answer["model"] == "small"
    assert answer["choices"][0]["text"] == expected
    assert answer["usage"]["completion_tokens"] == 8 and answer["choices"][0]["finish_reason"] == "length"
    streamed = events(ask(port, "/v1/completions", asked | {"stream": True})[1])
    assert "".join(event["choices"][0].get("text", "") for event in streamed) == expected.rstrip(HALF)
    assert len(streamed) > 4

    chat = {"messages": [{"role": "user", "content": "Is iron a metal?"}], "temperature": 0, "max_tokens": 6}
    whole = json.loads(ask(port, "/v1/chat/completions", chat)[1])["choices"][0]["message"]["content"]
    parts = events(ask(port, "/v1/chat/completions", chat | {"stream": True, "stream_options": {}})[1])
    assert whole and "".join(event["choices"][0]["delta"].get("content", "") for event in parts) == whole.rstrip(HALF)


@pytest.mark.slow
def test_sampling_obeys_seed_and_stop(port: int) -> None:
    def text(**fields: Any) -> str:
        body = {"prompt": "The river", "temperature": 1.0, "max_tokens": 12} | fields
        return str(json.loads(ask(port, "/v1/completions", body)[1])["choices"][0]["text"])

    assert text(seed=1) == text(seed=1) != text(seed=2)
    whole = text(seed=1)
    middle = whole[len(whole) // 2]
    assert text(seed=1, stop=[middle]) == whole.partition(middle)[0]

    def stream(stop: list[str]) -> tuple[str, str]:
        body = {"prompt": "The river", "max_tokens": 12, "seed": 1, "stream": True, "stop": stop}
        parts = [event["choices"][0] for event in events(ask(port, "/v1/completions", body)[1])]
        return "".join(part["text"] for part in parts), parts[-1]["finish_reason"]

    for place in range(len(whole) - 3):
        assert stream([whole[place : place + 3]]) == (whole.partition(whole[place : place + 3])[0], "stop")
    assert stream([whole[3] + "never"]) == stream([])


@pytest.mark.slow
def test_a_seed_is_exact_among_other_answers(port: int) -> None:
    def text(seed: int | None) -> str:
        body = {"prompt": "The river", "max_tokens": 30, "seed": seed}
        while (answer := ask(port, "/v1/completions", body))[0] == 429:
            time.sleep(0.05)
        return str(json.loads(answer[1])["choices"][0]["text"])

    alone = text(7)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(text, [7, None, None, 7, None, None, 7, None] * 3))
    assert found[0::8] == found[3::8] == found[6::8] == [alone] * 3


@pytest.mark.slow
def test_limits_are_kept_and_told_in_openais_form(port: int) -> None:
    long = json.loads(ask(port, "/v1/completions", {"prompt": "The", "max_tokens": 9999, "temperature": 0})[1])
    assert long["usage"]["completion_tokens"] == 40
    refused = {
        404: [{"prompt": "a", "model": "other"}],
        400: [
            {"prompt": "a", "n": 3},
            {"prompt": "a", "what": 1},
            {"prompt": ["a", "b"]},
            {"prompt": "a " * 200},  # more than the model sees
            {"prompt": "a", "temperature": "hot"},
            b"[1]",
            b"{",
        ],
        413: [{"prompt": "a" * (1 << 20)}],
    }
    for status, bodies in refused.items():
        for body in bodies:
            found, text = ask(port, "/v1/completions", body)
            assert found == status, (found, text)
            assert json.loads(text)["error"]["message"]
    assert ask(port, "/v1/chat/completions", {"messages": [{"role": "user"}]})[0] == 400
    assert ask(port, "/load_model", {"model": "x"})[0] == 404
    assert ask(port, "/v1/models", headers={"Host": "elsewhere.example"})[0] == 403
    assert [entry["id"] for entry in json.loads(ask(port, "/v1/models")[1])["data"]] == ["small"]


@pytest.mark.slow
def test_the_client_of_openai_understands_it(port: int) -> None:
    import openai

    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "Is iron a metal?"}]
        asked: Any = {"model": "small", "messages": messages, "temperature": 0, "max_tokens": 6}
        whole = client.chat.completions.create(**asked).choices[0].message.content
        parts = client.chat.completions.create(**asked, stream=True)
        assert str(whole).rstrip(HALF) == "".join(part.choices[0].delta.content or "" for part in parts)
        with pytest.raises(openai.NotFoundError, match="the one model here is 'small'"):
            client.chat.completions.create(**(asked | {"model": "gpt-4"}))


@pytest.mark.slow
def test_told_to_stop_it_ends_its_answer_first(model: Path) -> None:
    with started(model, *LIMITS) as (port, process):
        stop_within_an_answer(port, process)


def stop_within_an_answer(port: int, process: subprocess.Popen[str]) -> None:
    body = json.dumps({"prompt": "The", "max_tokens": 40, "stream": True, "temperature": 0}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        first = answer.readline().decode()
        process.send_signal(signal.SIGTERM)
        rest = answer.read().decode()
    assert events(first + rest)[-1]["choices"][0]["finish_reason"] == "length"
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.slow
def test_mlflow_serves_the_registered_model(gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llm_core.runtime.digests import content_digest
    from llm_core.tracking import versions

    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "metrics.json").write_text("{}")
    tags = {"model": "base", "model_digest": content_digest(gpt2)}
    registry = versions.Registry("language-model-base")
    registry.alias("champion", registry.add(gpt2, evaluation, {"score": 1.0}, tags))

    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/language-model-base@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": store,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        wait_for(port, "/ping", process)
        body = {"inputs": ["The river"], "params": {"max_new_tokens": 5}}
        status, text = ask(port, "/invocations", body)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
    assert status == 200, text
    network, tokenizer = AutoModelForCausalLM.from_pretrained(gpt2), AutoTokenizer.from_pretrained(gpt2)
    ids = tokenizer("The river", return_tensors="pt")["input_ids"]  # with a begin token where the tokenizer adds one
    written = network.generate(ids, do_sample=False, max_new_tokens=5, pad_token_id=0)[0]
    assert json.loads(text) == {"predictions": [tokenizer.decode(written, skip_special_tokens=True)]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "size", "header", "status"),
    [
        ("/v1/completions", 1 << 20, {}, 413),
        ("/v1/completions", 4 << 20, {}, 413),
        ("/v1/embeddings", 1 << 20, {}, 404),
        ("/v1/completions", 1 << 20, {"Origin": "https://elsewhere.example"}, 403),
    ],
)
def test_a_refused_client_that_sends_much_reads_why(
    port: int, path: str, size: int, header: dict[str, str], status: int
) -> None:
    """A connection that is closed with unread bytes is reset, which a client meets as a broken pipe now and then."""
    for _ in range(5):
        assert ask(port, path, {"prompt": "a" * size}, header)[0] == status
