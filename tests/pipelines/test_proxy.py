"""The proxies of deploy/, by a real nginx on loopback: how fast a password can be guessed, and a model be asked."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.waiting import free_port, wait

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
needs_nginx = pytest.mark.skipif(not NGINX or not shutil.which("openssl"), reason="nginx or openssl is not installed")
Ask = Callable[..., int]


class Page(BaseHTTPRequestHandler):
    """A server behind the proxy: it says what it was asked."""

    def do_GET(self) -> None:
        body = f"{self.headers['Host']} {self.headers.get('Authorization')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """No line for each request."""


@pytest.fixture(scope="module")
def behind() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def proxy(request: pytest.FixtureRequest, behind: int, tmp_path: Path) -> Iterator[Ask]:
    """nginx over a template of deploy/ with this machine's ports and folders in it; asks with curl."""
    port, health = free_port(), free_port()
    text = (DEPLOY / request.param).read_text(encoding="utf-8")
    for old, new in {
        r"(webserver|mlflow|objects|127\.0\.0\.1):(3000|5000|9000|8000)\b": f"127.0.0.1:{behind}",
        r"127\.0\.0\.1:8080": f"127.0.0.1:{health}",
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        r"\$\{SECRETS\}|/run/secrets": str(tmp_path),
        r"pid [^;]*": f"pid {tmp_path}/pid",
        r"access_log [^;]*": "access_log off",
        r"include mime.types;": "",
        r"^": "user root;\n",  # pytest's folders are closed to others
        r"\$\{TEAM_DOMAIN\}": "team.example",
        r"\$\{LOGIN_COOKIE\}": "s3cret",
    }.items():
        text = re.sub(old, new, text)
    (tmp_path / "nginx.conf").write_text(text)
    key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=team.example"]
    subprocess.run([*key, "-keyout", "tls.key", "-out", "tls.crt"], cwd=tmp_path, check=True, capture_output=True)
    hashed = subprocess.run(["openssl", "passwd", "-5", "right"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "htpasswd").write_text(f"anna:{hashed}")
    tmp_path.chmod(0o755)
    command = [str(NGINX), "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def ask(name: str, password: str, *options: str) -> int:
        """HTTP's status of a request; 0 where there was no answer."""
        where = ["--resolve", f"{name}.team.example:{port}:127.0.0.1", "--insecure", "--user", f"anna:{password}"]
        told = ["-sS", "-o", str(tmp_path / "answer"), "-w", "%{http_code}", "--max-time", "20"]
        done = subprocess.run(
            ["curl", *told, *where, *options, f"https://{name}.team.example:{port}/x"], capture_output=True, text=True
        )
        return int(done.stdout or 0)

    try:
        first = "answers" if request.param.startswith("nginx-serve") else "objects"
        wait(lambda: ask(first, "right") == 200, 30, what=(tmp_path / "log").read_text() or "nginx")
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=30)


@needs_nginx
@pytest.mark.parametrize("proxy", ["nginx.conf.template"], indirect=True)
def test_passwords_are_not_guessed_fast_and_a_person_s_page_is_not_slowed(proxy: Ask, tmp_path: Path) -> None:
    jar = ("--cookie", str(tmp_path / "jar"), "--cookie-jar", str(tmp_path / "jar"))
    assert proxy("dagster", "right", *jar) == 200
    assert (tmp_path / "answer").read_text() == "dagster.team.example None", "the password goes no further"
    began = time.monotonic()
    guesses = [proxy("dagster", f"guess {number}") for number in range(80)]
    assert set(guesses) == {401, 429}
    assert guesses.count(401) <= 32 + time.monotonic() - began, "30 at once, then one a second"
    assert 429 in [proxy("mlflow", "right") for _ in range(40)], "a right guess is as late as a wrong one"
    assert "known" in (tmp_path / "jar").read_text()
    known = [proxy("dagster", "right", "--cookie", "known=s3cret") for _ in range(60)]
    assert set(known) == {200}, "whoever has signed in is not counted, also from the same address"
    assert proxy("dagster", "wrong", "--cookie", "known=s3cret") == 401, "the cookie opens nothing"
    assert {proxy("objects", "any") for _ in range(60)} == {200}, "the store checks signatures; DVC asks often"


@needs_nginx
@pytest.mark.parametrize("proxy", ["nginx-serve.conf.template"], indirect=True)
def test_a_served_model_is_asked_by_people_at_a_rate(proxy: Ask, tmp_path: Path) -> None:
    assert (tmp_path / "answer").read_text() == "127.0.0.1 None", "the name that `llm-core serve` answers"
    assert proxy("answers", "wrong") == 401
    assert proxy("answers", "right", "-H", "Origin: https://evil.example") == 403
    assert proxy("other", "right") == 0
    answers = [proxy("answers", "right") for _ in range(60)]
    assert answers[:10] == [200] * 10 and 429 in answers, answers
