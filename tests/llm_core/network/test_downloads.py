"""Downloads and data packages: resumed, verified, and a one-line error where they are not available."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from llm_core.errors import UserError
from llm_core.network.downloads import Client
from llm_core.network.http_headers import rate_limit_reset, retry_after
from llm_core.network.packages import fetch_package, find_file
from llm_core.params.sources import Network, PackageSource
from tests.llm_core.corpus.sources.loopback import Loopback
from tests.llm_core.corpus.sources.warc_files import packed, record

BIG = os.urandom(3 << 20)


@pytest.fixture
def client(network: Network) -> Client:
    return Client(network)


def test_interrupted_download_goes_on_where_it_stopped(site, client, tmp_path):
    site.files["/big"] = BIG
    site.faults["/big"] = ["reset"] + ["503"] * client.network.retries
    target = tmp_path / "place" / "big"
    with pytest.raises(UserError, match=r"after 7 tries\); run again to go on"):
        client.download(f"{site.address}/big", target)
    assert not target.exists()
    site.log.clear()
    assert client.download(f"{site.address}/big", target).read_bytes() == BIG
    [asked] = site.requests_for("/big")
    assert asked and int(asked.removeprefix("bytes=").rstrip("-")) > len(BIG) // 2
    assert {file.name for file in target.parent.iterdir()} == {"big", ".big.json", ".big.lock"}


def test_breaks_that_bring_something_are_not_counted(site, client, tmp_path):
    site.files["/big"] = BIG
    site.faults["/big"] = ["reset"] * (client.network.retries + 5)
    assert client.download(f"{site.address}/big", tmp_path / "big").read_bytes() == BIG
    assert client.bytes_received < len(BIG) * 1.01


def test_file_that_changed_meanwhile_begins_anew(site, client, tmp_path):
    site.digests = False
    site.files["/big"] = BIG
    site.faults["/big"] = ["reset"] + ["503"] * client.network.retries
    with pytest.raises(UserError):
        client.download(f"{site.address}/big", tmp_path / "big")
    site.files["/big"] = changed = BIG[::-1]
    assert client.download(f"{site.address}/big", tmp_path / "big").read_bytes() == changed


def test_wrong_checksum_is_tried_once_more_and_leaves_nothing(site, client, tmp_path):
    site.files["/file"] = b"not what was pinned"
    with pytest.raises(UserError, match=r"sha256 is .*was expected \(after 2 tries\); check the pinned checksum"):
        client.download(f"{site.address}/file", tmp_path / "file", sha256="0" * 64)
    assert not (tmp_path / "file").exists() and not (tmp_path / ".file.partial").exists()


def test_missing_address_is_not_tried_again(site, client, tmp_path):
    with pytest.raises(UserError, match="404 Not Found"):
        client.download(f"{site.address}/nothing", tmp_path / "file")
    assert len(site.log) == 1


def test_retry_after_holds_back_every_request_to_the_host(site, client, tmp_path):
    site.files["/a"] = site.files["/b"] = b"x"
    site.faults["/a"] = ["503"]
    site.retry_after = "1"
    begin = time.monotonic()
    client.download(f"{site.address}/a", tmp_path / "a")
    assert time.monotonic() - begin >= 1


def test_requests_to_one_host_are_kept_apart(site, network, tmp_path):
    site.files["/a"] = b"x"
    slow = Client(network.model_copy(update={"pause_seconds": 0.2}))
    begin = time.monotonic()
    for _ in range(4):
        slow.get(f"{site.address}/a")
    assert time.monotonic() - begin >= 0.6


def test_rate_limit_header():
    assert rate_limit_reset({"RateLimit": '"api";r=0;t=42'}) == 42
    assert rate_limit_reset({"RateLimit": "limit=100, remaining=0, reset=7"}) == 7
    assert rate_limit_reset({}) is None


def test_retry_after_as_seconds_and_as_a_date():
    assert retry_after("7") == 7 and retry_after(None) is None and retry_after("soon") is None
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("100000") == 120


def package(site: Loopback, data: bytes, announced: str | None = None, as_html: bool = False) -> None:
    """A simple index with one package of one file."""
    digest = announced or hashlib.sha256(data).hexdigest()
    site.files["/files/corpus-1.0.zip"] = data
    listing = {"files": [{"filename": "corpus-1.0.zip", "url": "/files/corpus-1.0.zip", "hashes": {"sha256": digest}}]}
    page = f'<html><a href="../../files/corpus-1.0.zip#sha256={digest}">corpus-1.0.zip</a></html>'.encode()
    site.files["/simple/my-corpus/"] = page if as_html else json.dumps(listing).encode()


@pytest.mark.parametrize("as_html", [False, True])
def test_package_from_an_index_in_json_or_html(site, client, monkeypatch, as_html):
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.address}/simple/")
    package(site, b"data", as_html=as_html)
    assert find_file(client, "My_Corpus", "corpus-1.0.zip")[1] == hashlib.sha256(b"data").hexdigest()
    digest = hashlib.sha256(b"data").hexdigest()
    file = fetch_package(client, "my.corpus", "corpus-1.0.zip", digest)
    assert file.read_bytes() == b"data"
    site.log.clear()
    assert fetch_package(client, "my.corpus", "corpus-1.0.zip", digest) == file and site.log == []
    file.write_bytes(b"tampered with")
    assert fetch_package(client, "my.corpus", "corpus-1.0.zip", digest).read_bytes() == b"data"


def test_package_whose_hash_differs(site, client, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.address}/simple")
    package(site, b"data")
    with pytest.raises(UserError, match=r"corpus-1\.0\.zip: the index gives sha256 .* nothing was downloaded"):
        fetch_package(client, "my-corpus", "corpus-1.0.zip", "f" * 64)
    package(site, b"other data", announced="f" * 64)
    with pytest.raises(UserError, match=r"sha256 is .* was expected"):
        fetch_package(client, "my-corpus", "corpus-1.0.zip", "f" * 64)
    with pytest.raises(UserError, match=r"corpus-2\.0\.zip: not among the 1 files of 'my-corpus'"):
        fetch_package(client, "my-corpus", "corpus-2.0.zip", "f" * 64)


def test_package_that_is_no_archive_or_has_no_such_file(site, run, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.address}/simple")

    def source(data: bytes) -> PackageSource:
        package(site, data)
        return PackageSource(
            kind="package",
            package="my-corpus",
            version="1.0",
            filename="corpus-1.0.zip",
            sha256=hashlib.sha256(data).hexdigest(),
            reader="warc",
            members=["*.warc.gz"],
            license="CC0-1.0",
        )

    with pytest.raises(UserError, match=r"corpus-1\.0\.zip: not a readable zip or tar archive"):
        run(source(b"<html>proxy error</html>"))
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("readme.txt", "no crawl here")
    with pytest.raises(UserError, match=r"holds no file like \*\.warc\.gz"):
        run(source((tmp_path / "made.zip").read_bytes()))
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("a/crawl.warc.gz", packed([record(1), record(2)]))
    assert len(run(source((tmp_path / "made.zip").read_bytes())).documents) == 2


def start(folder: Path, sources: dict[str, object], out: Path, network: Network) -> subprocess.Popen[str]:
    (folder / "params.yaml").write_text(yaml.safe_dump({"network": network.model_dump(), "sources": sources}))
    command = [sys.executable, "-m", "llm_core.cli", "fetch", "corpus", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.slow
def test_killed_fetch_goes_on_with_the_shards_that_are_missing(site, tmp_path, network):
    names = [f"/part-{number}.warc.gz" for number in range(4)]
    for number, name in enumerate(names):
        site.files[name] = packed([record(10 * number + page) for page in range(5)])
    site.faults[names[3]] = ["slow"]
    site.pause = 60
    source = {"corpus": {"kind": "files", "paths": [f"{site.address}{name}" for name in names]}}
    running = start(tmp_path, source, tmp_path / "out", network)
    finished = tmp_path / ".scratch/fetch"
    deadline = time.monotonic() + 60
    while len(list(finished.glob("*/0000[012]-*/metrics.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out").exists()
    kept = {file: file.stat().st_mtime_ns for file in finished.glob("*/0000[012]-*/metrics.json")}
    assert len(kept) == 3
    site.log.clear()
    again = start(tmp_path, source, tmp_path / "out", network)
    _, told = again.communicate(timeout=60)
    assert again.returncode == 0, told
    assert "3 of 4 shards were finished by an earlier run" in told
    assert {path for path, _ in site.log} == {names[3]}
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["documents_kept"] == 20 and metrics["documents_dropped"] == 0


@pytest.mark.slow
def test_full_disk_is_one_clear_line(site, tmp_path, network):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        site.files["/big.jsonl"] = b"".join(
            json.dumps({"text": os.urandom(500).hex()}).encode() + b"\n" for _ in range(3000)
        )
        source = {"corpus": {"kind": "files", "paths": [f"{site.address}/big.jsonl"]}}
        small = network.model_copy(update={"cache": str(disk / "cache")})
        running = start(tmp_path, source, tmp_path / "out", small)
        _, told = running.communicate(timeout=60)
        assert running.returncode == 1
        assert told.strip().splitlines()[-1].startswith("llm-core: error: No space left on device")
        assert "Traceback" not in told and not (tmp_path / "out").exists()
        assert not list((disk / "cache").rglob("big.jsonl"))
        running = start(tmp_path, source, disk / "out", network)
        _, told = running.communicate(timeout=60)
        assert running.returncode == 1 and "No space left on device" in told.strip().splitlines()[-1]
        assert not (disk / "out").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
