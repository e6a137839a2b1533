"""A server started as a user starts it, how to ask it, and a model whose answers do not end by themselves."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import free_port


def ask(port: int, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """(status, text) of a GET, or of a POST of JSON."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers or {})
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(port: int, path: str, server: subprocess.Popen[str]) -> None:
    for _ in range(600):
        assert server.poll() is None, server.communicate()
        try:
            if ask(port, path)[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


@contextmanager
def started(model: Path, *limits: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Port and process of `llm-core serve`, which answers; `limits` are keys of `serving`."""
    port = free_port()
    command = [sys.executable, "-m", "llm_core.cli", "serve", "--model", str(model), "--port", str(port)]
    command += ["--device", "cpu", *(word for limit in limits for word in ("--set", f"serving.{limit}"))]
    root = Path(__file__).parents[3]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(port, "/health", process)
        yield port, process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def endless(gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has no end token and takes minutes to fill its 100,000 positions."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=100_000, bos_token_id=0, eos_token_id=None,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("endless") / "endless"
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
