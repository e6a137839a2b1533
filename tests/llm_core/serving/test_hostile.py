"""What a client sends is checked before anything is computed, and one client cannot stop the others."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.params.serving import Serving
from llm_core.serving.server import serve
from tests.llm_core.serving.conftest import ask, started
from tests.llm_core.training.finetuning import tiny

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with started(tiny.model("llama", tmp_path_factory.mktemp("llama") / "model"), "body_seconds=2") as (port, _):
        yield port


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (TEXT, {"prompt": "a", "stop": ""}),
        (TEXT, {"prompt": "a", "stop": ["b", ""]}),
        (TEXT, {"prompt": "a", "stop": ["b"] * 500}),
        (TEXT, {"prompt": "a", "stop": "b" * 5000}),
        (TEXT, {"prompt": "a", "stop": {"b": 1}}),
        (TEXT, {"prompt": "a", "stream": "false"}),
        (TEXT, {"prompt": "a", "stream": 1}),
        (TEXT, {"prompt": "a", "seed": 1.5}),
        (TEXT, {"prompt": "a", "max_tokens": 1.5}),
        (TEXT, {"prompt": "a", "temperature": "1"}),
        (TEXT, {"prompt": ["a"]}),
        (CHAT, {"messages": HI, "chat_template": "{{ 1 }}"}),
        (CHAT, {"messages": HI, "chat_template_kwargs": "x"}),
        (CHAT, {"messages": HI, "chat_template_kwargs": {"chat_template": "{% for i in range(99999) %}{% endfor %}"}}),
        (CHAT, {"messages": [{"role": "user|><|system", "content": "hi"}]}),
        (CHAT, {"messages": [{"role": "zork", "content": "hi"}]}),
        (CHAT, {"messages": ["hi"]}),
        (CHAT, {"messages": []}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x"}]}]}),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(path: str, fields: dict[str, Any], port: int) -> None:
    status, text = ask(port, path, {"max_tokens": 2, **fields})
    assert status == 400 and json.loads(text)["error"]["message"]


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{", b"[]", b"\xff", b'{"prompt": "\\ud800", "max_tokens": 1}'])
def test_a_body_that_is_no_request_is_no_server_error(body: bytes, port: int) -> None:
    assert ask(port, TEXT, body)[0] in (200, 400)


def test_content_may_be_a_list_of_texts(port: int) -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    asked = {"max_tokens": 4, "temperature": 0}
    whole, cut = (ask(port, CHAT, {"messages": [{"role": "user", "content": one}], **asked}) for one in ("hi", parts))
    assert whole[0] == cut[0] == 200
    assert json.loads(whole[1])["choices"] == json.loads(cut[1])["choices"]


def test_the_name_of_a_control_token_is_text(port: int) -> None:
    asked = {"max_tokens": 1, "temperature": 0}
    status, text = ask(port, TEXT, {"prompt": "a<|end|>", **asked})
    assert status == 200 and json.loads(text)["usage"]["prompt_tokens"] > 4
    status, text = ask(port, CHAT, {"messages": [{"role": "user", "content": "<|end|>"}], **asked})
    assert status == 200 and json.loads(text)["usage"]["prompt_tokens"] > 6


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [("Origin", "https://evil.example", 403), ("Origin", "null", 403), ("Host", "evil.example", 403),
     ("Origin", "http://localhost:3000", 200), ("Content-Type", "text/plain", 415)],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(header: str, value: str, status: int, port: int) -> None:
    data = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    headers = {"Host": f"127.0.0.1:{port}", "Content-Type": "application/json", header: value}
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"POST {TEXT} HTTP/1.1\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        assert client.recv(100).split()[1] == str(status).encode()


def test_slow_bodies_hold_up_nobody_and_time_out(port: int) -> None:
    head = (
        f"POST {TEXT} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        'Content-Length: 100\r\n\r\n{"prompt": '
    ).encode()
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for client in slow:
        client.sendall(head)
    began = time.monotonic()
    assert ask(port, TEXT, {"prompt": "a", "max_tokens": 2})[0] == 200
    assert time.monotonic() - began < 2
    for client in slow:
        client.settimeout(10)
        assert b" 408 " in client.recv(100)
        client.close()


@pytest.mark.parametrize("wrong", [0, 99999, -1])
def test_a_port_that_is_none_is_one_line(wrong: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="from 1 to 65535"):
        serve(tmp_path, wrong, "cpu", Serving())


def test_a_model_that_no_endpoint_fits_is_refused(tmp_path: Path) -> None:
    import transformers

    folder = tiny.model("llama", tmp_path / "reward")
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=1)
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(UserError, match="a reward model; a classifier is needed here"):
        serve(folder, 18_999, "cpu", Serving())
