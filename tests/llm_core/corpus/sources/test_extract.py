"""`llm-core extract`: from WARC records to plain text, with a ledger row for every page."""

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from llm_core.cli.extract import app
from llm_core.errors import UserError
from tests.llm_core.corpus.sources.warc_files import http, packed, record


def page(number: int) -> bytes:
    words = f"The quick brown fox number {number} jumps over the lazy dog and reads a long article about it. " * 4
    return f"<html><body><nav>menu</nav><article><h1>Title</h1><p>{words}</p></article></body></html>".encode()


def extract(*arguments: str) -> None:
    CliRunner().invoke(app, [*arguments, "--params", "params.yaml"], catch_exceptions=False)


@pytest.fixture(autouse=True)
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("{}")


def test_pages_of_a_warc_become_text(tmp_path):
    records = [record(number, http(page(number))) for number in range(3)]
    records.append(record(8, http(b"", b"HTTP/1.1 404 Not Found\r\n")))
    data = packed(records)
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl/a.warc.gz").write_bytes(data + packed([record(9)])[:-40])
    extract("--in", "crawl", "--out", "out", "--source", "site")
    documents = pq.read_table(tmp_path / "out/documents").to_pylist()
    assert [row["url"] for row in documents] == [f"http://example.org/{number}" for number in range(3)]
    assert all("The quick brown fox" in row["text"] and "<p>" not in row["text"] for row in documents)
    assert {row["source"] for row in documents} == {"site"}
    ledger = pq.read_table(tmp_path / "out/ledger").to_pylist()
    assert [row["reason"] for row in ledger[3:]] == ["http_status", "quarantine_truncated"]
    assert ledger[4]["offset"] == len(data) and ledger[4]["shard"].endswith("crawl/a.warc.gz")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["documents_in"], metrics["documents_kept"], metrics["documents_dropped"]) == (5, 3, 2)


def test_wrong_input_is_one_line(tmp_path):
    (tmp_path / "a.warc.gz").write_bytes(b"<html>no archive</html>")
    with pytest.raises(UserError, match="not what their names say"):
        extract("--in", "a.warc.gz", "--out", "out")
    with pytest.raises(UserError, match="no such file"):
        extract("--in", "nowhere", "--out", "out")
    assert not (tmp_path / "out").exists()


def test_one_broken_file_does_not_stop_the_others(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/A.WARC.GZ").write_bytes(packed([record(1, http(page(1)))]))
    (tmp_path / "in/b.warc.gz").write_bytes(b"<html>an error page that was saved</html>")
    (tmp_path / "in/c.warc").write_bytes(b"")
    extract("--in", "in", "--out", "out")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["documents_in"] == 3 and metrics["documents_kept"] == 1
    assert metrics["dropped_by_reason"] == {"empty_file": 1, "quarantine_wrong_kind": 1}
