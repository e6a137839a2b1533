"""The proxies of deploy/, by a real nginx on loopback: how fast a password can be guessed, and a model be asked."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

import pytest

from tests.waiting import free_port, wait

DEPLOY = Path(__file__).parents[2] / "deploy"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
there = NGINX and shutil.which("openssl") and shutil.which("curl")
needs_nginx = pytest.mark.skipif(not there, reason="nginx, openssl or curl is not installed")
SERVING = (Path(__file__).parents[2] / "docs/how-to/serving.md").read_text(encoding="utf-8")
PASSWORDS = "/etc/nginx/answers.htpasswd"  # the copy that nginx's workers can read


class Ask(Protocol):
    """Asks a proxy `times` times in one process: a rate does not depend on how long a program takes to start."""

    def __call__(self, name: str, password: str, *options: str, times: int = 1) -> list[int]: ...


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
def folder() -> Iterator[Path]:
    """A folder that others may enter, as `/etc` and `/run` are; pytest's are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def proxy(request: pytest.FixtureRequest, behind: int, folder: Path) -> Iterator[Ask]:
    """nginx over a template of deploy/ with this machine's ports and folders in it; asks with curl."""
    port, health = free_port(), free_port()
    serves = request.param.startswith("nginx-serve")
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700 if serves else 0o755)  # of the page; Docker makes /run/secrets
    user = next(entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ("www-data", "nginx", "nobody"))
    text = (DEPLOY / request.param).read_text(encoding="utf-8")
    for old, new in {
        r"(webserver|mlflow|objects|127\.0\.0\.1):(3000|5000|9000|8000)\b": f"127.0.0.1:{behind}",
        r"127\.0\.0\.1:8080": f"127.0.0.1:{health}",
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        r"\$\{SECRETS\}|/run/secrets": str(secrets),
        PASSWORDS: str(folder / "passwords"),
        r"pid [^;]*": f"pid {folder}/pid",
        r"access_log [^;]*": "access_log off",
        r"include mime.types;": "",
        r"\$\{NGINX_USER\}": user,
        r"\$\{TEAM_DOMAIN\}": "team.example",
        r"\$\{LOGIN_COOKIE\}": "s3cret",
    }.items():
        text = re.sub(old, new, text)
    (folder / "nginx.conf").write_text(text)
    key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=team.example"]
    key += ["-addext", "subjectAltName=DNS:*.team.example", "-keyout", "tls.key", "-out", "tls.crt"]
    subprocess.run(key, cwd=secrets, check=True, capture_output=True)
    hashed = subprocess.run(["openssl", "passwd", "-5", "right"], capture_output=True, text=True, check=True).stdout
    (secrets / "htpasswd").write_text(f"anna:{hashed}")
    if serves:
        (install,) = re.findall(r"^sudo (install .*)$", SERVING, re.MULTILINE)
        install = install.replace("-o $NGINX_USER ", f"-o {user} " if os.getuid() == 0 else "")
        install = install.replace("deploy/secrets", str(secrets)).replace(PASSWORDS, str(folder / "passwords"))
        subprocess.run(install.split(), check=True)
    command = [str(NGINX), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def ask(name: str, password: str, *options: str, times: int = 1) -> list[int]:
        """HTTP's status of each request; 0 where there was no answer."""
        where = ["--resolve", f"{name}.team.example:{port}:127.0.0.1", "--cacert", str(secrets / "tls.crt")]
        shown = ["-sS", "-o", str(folder / "answer"), "-w", "%{http_code}\n", "--max-time", "60"]
        page = f"https://{name}.team.example:{port}/x?[1-{times}]"
        done = subprocess.run(
            ["curl", *shown, *where, "--user", f"anna:{password}", *options, page], capture_output=True, text=True
        )
        return [int(line) for line in done.stdout.split()]

    try:
        first = "answers" if serves else "objects"
        try:
            wait(lambda: ask(first, "right") == [200], 60)
        except AssertionError as error:
            raise AssertionError((folder / "log").read_text() or "no word of nginx") from error
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=30)


@needs_nginx
@pytest.mark.parametrize("proxy", ["nginx.conf.template"], indirect=True)
def test_passwords_are_not_guessed_fast_and_a_person_s_page_is_not_slowed(proxy: Ask, folder: Path) -> None:
    jar = ("--cookie", str(folder / "jar"), "--cookie-jar", str(folder / "jar"))
    assert proxy("dagster", "right", *jar) == [200]
    assert (folder / "answer").read_text() == "dagster.team.example None", "the password goes no further"
    began = time.monotonic()
    guesses = proxy("dagster", "guess", times=200)
    assert set(guesses) == {401, 429}
    assert guesses.count(401) <= 32 + time.monotonic() - began, "30 at once, then one a second"
    assert 429 in proxy("mlflow", "right", times=200), "a right guess is as late as a wrong one"
    assert "known" in (folder / "jar").read_text()
    known = proxy("dagster", "right", "--cookie", "known=s3cret", times=60)
    assert set(known) == {200}, "whoever has signed in is not counted, also from the same address"
    assert proxy("dagster", "wrong", "--cookie", "known=s3cret") == [401], "the cookie opens nothing"
    assert set(proxy("objects", "any", times=60)) == {200}, "the store checks signatures; DVC asks often"


@needs_nginx
@pytest.mark.parametrize("proxy", ["nginx-serve.conf.template"], indirect=True)
def test_a_served_model_is_asked_by_people_at_a_rate(proxy: Ask, folder: Path) -> None:
    assert (folder / "answer").read_text() == "127.0.0.1 None", "the name that `llm-core serve` answers"
    assert proxy("answers", "wrong") == [401]
    assert proxy("answers", "right", "-H", "Origin: https://evil.example") == [403]
    assert proxy("other", "right") == [0]
    answers = proxy("answers", "right", times=200)
    assert answers[:10] == [200] * 10 and 429 in answers, answers
