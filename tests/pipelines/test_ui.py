"""The start of `make ui`: the instance's settings, and servers behind a proxy."""

import http.server
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import ui
from pipelines.loopback import LOOPBACK, without_proxy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """Address of a server on loopback."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_behind_a_proxy_is_seen(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(ui, "START_SECONDS", 10)
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            ui.wait_for(page, child, tmp_path / "log")
        finally:
            child.kill()


def test_a_port_that_answers_its_own_question_is_not_a_server_yet(tmp_path: Path) -> None:
    """A client on loopback can be given the port that it calls: it connects to itself, and reads what it has sent."""
    answers = [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
    with socket.create_server(("127.0.0.1", 0)) as listening, subprocess.Popen(["sleep", "60"]) as child:

        def serve() -> None:
            for answer in answers:
                client, _ = listening.accept()
                with client:
                    client.sendall(answer or client.recv(1 << 16))

        threading.Thread(target=serve, daemon=True).start()
        try:
            ui.wait_for(f"http://127.0.0.1:{listening.getsockname()[1]}", child, tmp_path / "log")
        finally:
            child.kill()


def test_clients_of_the_servers_ask_loopback_directly() -> None:
    made = without_proxy({"http_proxy": "http://proxy", "NO_PROXY": "intranet"})
    assert made["no_proxy"] == made["NO_PROXY"] == ",".join(["intranet", *LOOPBACK])


def test_a_server_that_ends_is_reported_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("port taken\n")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as child:
        child.wait()
        with pytest.raises(RuntimeError, match=r"(?s)http://127.0.0.1:9 ended with code 3; .*port taken"):
            ui.wait_for("http://127.0.0.1:9", child, log)


def test_an_untouched_copy_of_the_settings_follows_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)
    copy, ours = tmp_path / ".dagster/dagster.yaml", (ROOT / "pipelines/dagster.yaml").read_text()
    ui.prepare_home(tmp_path)
    assert copy.read_text() == ours
    older = "telemetry: {enabled: false}\n"
    monkeypatch.setattr(ui, "files", lambda package: tmp_path)
    (tmp_path / "dagster.yaml").write_text(older)
    ui.prepare_home(tmp_path)
    assert copy.read_text() == older, "nobody has touched it"
    copy.write_text("nux: {enabled: true}\n")
    (tmp_path / "dagster.yaml").write_text(ours)
    ui.prepare_home(tmp_path)
    assert copy.read_text() == "nux: {enabled: true}\n" and "is your own and is kept" in capsys.readouterr().out


def test_a_port_that_does_not_exist() -> None:
    with pytest.raises(OSError, match=r"port 99999 does not exist"):
        ui.free_port(99999)


def test_servers_can_be_interrupted_although_a_background_job_ignores_it() -> None:
    """Run workers take what the servers have, also (by Dagster) for SIGTERM; else no run could be cancelled."""
    ask = "import signal; raise SystemExit(7 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 8)"
    start = (
        "import subprocess, sys; from pipelines import ui; "
        f"ui.serve = lambda *_: subprocess.run([sys.executable, '-c', {ask!r}]).returncode; "
        "sys.argv = ['ui', '--dagster-port', '0', '--mlflow-port', '0']; ui.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", start], cwd=ROOT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    assert done.returncode == 7
