"""Data from the network cannot reach this machine's files or services; secrets are written nowhere."""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import UserError
from llm_core.network import addresses
from llm_core.network.addresses import check_listed, check_redirect, is_public
from llm_core.network.cache_names import cache_path
from llm_core.network.downloads import Client
from llm_core.params.sources import CommonCrawlSource, FilesSource, PackageSource
from llm_core.runtime.redaction import redact, redact_values

PIECE = st.sampled_from(
    ["..", ".", "", "a", "%2e%2e", "..\\", "\\", "\0", ".x.json", "é" * 300, "?", "#", "@", ":", " "]
)
ADDRESS = st.lists(PIECE, max_size=12).map("/".join)


STARTS = st.sampled_from(["http://h", "https://user:pw@h:80", "s3://h", "http://..", "http://", "http://[::1]", "a://"])


@given(STARTS, ADDRESS)
def test_no_download_ends_outside_the_cache(start, path):
    cache = Path("/cache/folder")
    try:
        found = cache_path(cache, f"{start}/{path}")
    except UserError:
        return
    assert Path(os.path.normpath(found)).is_relative_to(cache / "files")
    names = found.relative_to(cache / "files").parts
    assert len(names) >= 2 and all(len(os.fsencode(name)) <= 200 and not name.startswith(".") for name in names)


@given(st.lists(ADDRESS.filter(lambda text: "#" not in text), min_size=2, max_size=2, unique=True))
def test_two_addresses_have_two_places(pair):
    one, other = (str(cache_path(Path("/c"), f"https://h/{path}")) for path in pair)
    said = [(urlsplit(f"https://h/{path}").path.lstrip("/"), urlsplit(f"https://h/{path}").query) for path in pair]
    assert (one == other) == (said[0] == said[1])


def test_addresses_that_differ_in_a_secret_alone_are_kept_apart():
    paths = {str(cache_path(Path("/c"), f"https://h/a.jsonl?key={key}")) for key in ("first", "second")}
    assert len(paths) == 2 and not any("first" in path or "second" in path for path in paths)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.1.2.3", "192.168.0.1",
     "2130706433",
     "172.16.0.1", "169.254.169.254", "127.1", "0x7f.1", "x.google.internal", "a.local", "[fe80::1]", "[fd00::1]",
     "", "127.0.0.1\\@93.184.215.14", "u@127.0.0.1"],
)  # fmt: skip
def test_private_hosts(host):
    assert not is_public(f"http://{host}/x")
    with pytest.raises(UserError, match="private host"):
        check_redirect("https://93.184.215.14/data", f"http://{host}/x")
    with pytest.raises(UserError, match="private one"):
        check_listed(f"http://{host}/x", "https://93.184.215.14/list.txt", "list:1")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://93.184.215.14/x", "s3://b/x", "/etc/passwd", "x.jsonl"]
)
def test_a_list_from_the_network_names_web_addresses_alone(target):
    with pytest.raises(UserError, match="web addresses alone"):
        check_listed(target, "http://127.0.0.1/list.txt", "list:1")
    check_listed(target, "list.txt", "list:1")  # a list of one's own may name anything


def test_a_redirect_may_lead_on_on_the_same_side():
    assert check_redirect("https://93.184.215.14/a", "/b") == "https://93.184.215.14/b"
    assert check_redirect("http://127.0.0.1/a", "http://127.0.0.1:8/b") == "http://127.0.0.1:8/b"
    with pytest.raises(UserError, match="no web address"):
        check_redirect("https://93.184.215.14/a", "file:///etc/passwd")


def test_the_address_that_answered_stands_in_the_record(site, run):
    site.files["/real.jsonl"] = b'{"text": "a document"}\n'
    site.files["/page.txt"] = b"a page"
    site.redirects = {"/moved.jsonl": "/real.jsonl", "/moved.txt": "/page.txt"}
    paths = [f"{site.address}/moved.jsonl", f"{site.address}/moved.txt"]
    result = run(FilesSource(kind="files", paths=paths))
    assert result.metrics["answered_by"] == {paths[0]: f"{site.address}/real.jsonl"}
    assert json.loads(result.documents[1]["metadata"])["answered_by"] == f"{site.address}/page.txt"
    again = run(FilesSource(kind="files", paths=paths), out="again")  # from the cache
    assert again.metrics["answered_by"] == result.metrics["answered_by"]


def test_a_redirect_from_a_public_host_to_this_machine_is_refused(site, network, monkeypatch):
    site.files["/inside"] = b"a private service"
    site.redirects["/outside"] = f"http://127.0.0.2:{site.address.rpartition(':')[2]}/inside"
    monkeypatch.setattr(addresses, "is_public", lambda address: "127.0.0.1" in address)  # as if the site were public
    with pytest.raises(UserError, match=r"redirected to a private host \(http://127.0.0.2"):
        Client(network).get(f"{site.address}/outside")
    assert not site.requests_for("/inside")


def test_a_remote_list_cannot_write_outside_the_cache_or_read_local_files(site, run, tmp_path, network):
    victim = tmp_path / "victim.jsonl"
    victim.write_text('{"text": "a private file"}\n')
    site.files["/good.jsonl"] = b'{"text": "a document"}\n'
    site.prefixes["/.."] = lambda *_: b'{"text": "overwritten"}\n'
    lines = [str(victim), f"file://{victim}", f"{site.address}/{'../' * 15}{str(victim)[1:]}"]
    for line in lines:
        site.files["/list.txt"] = f"{line}\n{site.address}/good.jsonl\n".encode()
        params = FilesSource(kind="files", address_list=f"{site.address}/list.txt?{abs(hash(line))}")
        try:
            result = run(params, out="out")
        except UserError as error:
            assert "web addresses alone" in str(error) or "/.." in str(error)
        else:
            assert "a private file" not in [row["text"] for row in result.documents]
        assert victim.read_text() == '{"text": "a private file"}\n'
    cache = Path(network.cache).resolve()
    written = {path for path in tmp_path.rglob("*") if path.is_file() and path != victim}
    outside = [path for path in written if not path.resolve().is_relative_to(cache)]
    assert all(path.parts[len(tmp_path.parts)] in ("out", "scratch") for path in outside)


@pytest.mark.parametrize(
    "path", ["../../x", "/etc/passwd", "a/../b", "http://x/y", "a b", "a\\b", "@h.example/x", "a//b", "."]
)
def test_a_crawls_list_names_paths_below_the_crawl(site, run, path):
    import gzip

    site.files["/crawl-data/CC-1/warc.paths.gz"] = gzip.compress(f"{path}\n".encode())
    with pytest.raises(UserError, match="no plain path"):
        run(CommonCrawlSource(kind="common_crawl", crawl="CC-1", files=1, base=site.address, index=site.address))


def test_a_packages_file_is_a_plain_name():
    with pytest.raises(ValueError, match="filename"):
        PackageSource(
            kind="package", package="x", version="1", filename="../x.whl", sha256="0" * 64, reader="bible", license="x"
        )


def test_a_body_that_never_ends_and_a_file_that_is_too_large_are_bounded(site, network, tmp_path):
    site.files["/large"] = bytes(3 << 20)
    client = Client(network.model_copy(update={"max_file_bytes": 1 << 20}))
    with pytest.raises(UserError, match="max_file_bytes"):
        client.bring(f"{site.address}/large")
    assert len(client.get(f"{site.address}/large", max_bytes=1000)) == 1000


SECRET = "s3cr3t-Pa55"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"https://user:{SECRET}@h.example/a", "https://***@h.example/a"),
        (f"s3://{SECRET}@bucket/a", "s3://***@bucket/a"),
        (f"postgresql://u:{SECRET}@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        (f"https://h/a?token={SECRET}&page=2", "https://h/a?token=***&page=2"),
        (f"https://h/a?page=2&X-Amz-Signature={SECRET}#x", "https://h/a?page=2&X-Amz-Signature=***#x"),
        (f"https://h/a?X-Amz-Security-Token={SECRET}", "https://h/a?X-Amz-Security-Token=***"),
        (f"https://h/a?access_token={SECRET}", "https://h/a?access_token=***"),
        (f"https://h/a?api_key={SECRET}", "https://h/a?api_key=***"),
        (f"https://h/a?sv=1&sig={SECRET}", "https://h/a?sv=1&sig=***"),
        (f"GET /a?apikey={SECRET} failed", "GET /a?apikey=*** failed"),
        (f"[x](https://u:{SECRET}@h/?key={SECRET}) and https://u:{SECRET}@h", "[x](https://***@h/?key=*** and https://***@h"),
    ],
)  # fmt: skip
def test_secrets_are_taken_out(address, shown):
    assert redact(address) == shown or SECRET not in redact(address)
    assert SECRET not in json.dumps(redact_values({"a": [address], "b": {"c": address}}))


@pytest.mark.parametrize(
    "text", ["https://h.example/a?page=2&keyword=x&tokens=3", "a@b.example", "https://h/@user/b", "x = 1 ? key : 2", ""]
)
def test_other_text_stays_as_it_is(text):
    assert redact(text) == text


def test_a_secret_in_a_sources_address_is_in_no_file_that_fetch_writes(site, run, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    site.files["/a.jsonl"] = b'{"text": "a document", "id": 1}\n{broken\n'
    site.files["/b.txt"] = b"a page"
    site.files["/c.parquet"] = b"no parquet"
    site.files["/list.txt"] = f"{site.address}/a.jsonl?token={SECRET}\n".encode()
    host = site.address.removeprefix("http://")
    paths = [f"http://user:{SECRET}@{host}/{name}" for name in ("a.jsonl", "b.txt", "c.parquet")]
    run(FilesSource(kind="files", paths=paths, address_list=f"{site.address}/list.txt?api_key={SECRET}"))
    with pytest.raises(UserError) as caught:
        run(FilesSource(kind="files", paths=[f"{site.address}/none.jsonl?sig={SECRET}"]), out="none")
    assert SECRET not in str(caught.value)
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err
    for file in tmp_path.rglob("*"):
        assert SECRET not in str(file)
        if "scratch" in file.parts and file.is_file():  # a run that failed needs its addresses to go on
            assert file.name != "shards.json" or file.stat().st_mode & 0o077 == 0
        elif file.is_file() and not file.name.startswith("list.txt"):  # that is what the server sent
            assert SECRET.encode() not in file.read_bytes()
    result = run(FilesSource(kind="files", paths=paths), out="again")
    assert SECRET not in json.dumps([*result.documents, *result.ledger, result.metrics])
