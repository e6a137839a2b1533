"""Several requests at once: the queue, refused requests, clients that disconnect, and the shutdown under load."""

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path

import pytest

from tests.llm_core.serving.conftest import ask, started

LONG = {"prompt": "The", "max_tokens": 90_000, "temperature": 0}
SHORT = {"prompt": "The", "max_tokens": 3, "temperature": 0}


@pytest.fixture(scope="module")
def port(endless: Path) -> Iterator[int]:
    limits = ("concurrent=2", "waiting=1", "new_tokens=90000", "seconds=600", "grace_seconds=1")
    with started(endless, *limits) as (port, process):
        yield port
        # TERM with two answers in progress: they have a second, then they are cut off
        streams = [stream(port), stream(port)]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        for part in streams:
            with pytest.raises(IncompleteRead):  # no client takes it for a whole answer
                part.read()


def stream(port: int) -> HTTPResponse:
    """A long answer that has begun."""
    body = json.dumps(LONG | {"stream": True}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body, headers)
    answer = urllib.request.urlopen(request, timeout=300)
    assert answer.readline().startswith(b"data: ")
    assert isinstance(answer, HTTPResponse)
    return answer


@pytest.mark.slow
def test_a_short_answer_does_not_wait_for_a_long_one(port: int) -> None:
    with stream(port) as long:
        assert ask(port, "/v1/completions", SHORT)[0] == 200
        assert b"finish_reason" not in long.readline() + long.readline()


@pytest.mark.slow
def test_one_waits_and_one_more_is_sent_away(port: int) -> None:
    first, second = stream(port), stream(port)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(ask, port, "/v1/completions", SHORT) for _ in range(2)]
        refused = wait(both, return_when=FIRST_COMPLETED).done.pop()
        status, text = refused.result()
        assert (status, json.loads(text)["error"]["type"]) == (429, "rate_limit_error")
        first.close()  # its client leaves: the one in line has its turn
        (waiting,) = (answer for answer in both if answer is not refused)
        assert waiting.result()[0] == 200
    second.close()


@pytest.mark.slow
def test_answers_of_clients_that_leave_free_their_places(port: int) -> None:
    for _ in range(2):
        for _ in range(2):  # as many as are generated at once: whole answers, which nothing sends before their end
            connection = HTTPConnection("127.0.0.1", port)
            connection.request("POST", "/v1/completions", json.dumps(LONG), {"Content-Type": "application/json"})
            connection.sock.close()
        status = 429
        while status == 429:
            status, _ = ask(port, "/v1/completions", SHORT)
        assert status == 200


@pytest.mark.slow
def test_streams_of_clients_that_leave_at_any_moment_end(port: int) -> None:
    """Before the answer begins, at its first bytes, and later: none may go on generating 90,000 tokens."""
    body = json.dumps(LONG | {"stream": True})
    for number in range(60):
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        time.sleep(0.0005 * number)
        connection.sock.close()
        begun, status = time.monotonic(), 429
        while status == 429:
            status, _ = ask(port, "/v1/completions", SHORT)
        assert status == 200 and time.monotonic() - begun < 60, "a stream that nobody reads held a thread"


@pytest.mark.slow
def test_retry_after_and_the_context(port: int) -> None:
    import openai

    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as long:
            client.completions.create(model="endless", prompt="river " * 110_000)
        assert long.value.code == "context_length_exceeded"
        running = [stream(port), stream(port)]
        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(client.completions.create, model="endless", prompt="The", max_tokens=2) for _ in range(2)
            ]
            refused = wait(both, return_when=FIRST_COMPLETED).done.pop().exception()
            assert isinstance(refused, openai.RateLimitError)
            assert refused.response.headers["retry-after"] == "1"
            for answer in running:
                answer.close()
