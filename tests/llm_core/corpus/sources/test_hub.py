"""A miniature Hugging Face hub on loopback, with faults, and local dataset folders. Each run is a process of its own,
because `HF_ENDPOINT` is read once, at import."""

import io
import json
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import ValidationError

from llm_core.params.sources import HubSource
from tests.llm_core.conftest import Result
from tests.llm_core.corpus.sources.loopback import Loopback, hub_environment, serve_hub

REVISION = "abcdef0123" * 4
FILES = f"/datasets/org/name/resolve/{REVISION}"


def parquet(first: int, last: int) -> bytes:
    numbers = range(first, last)
    table = {
        "id": [str(number) for number in numbers],
        "content": [f"text {number}" if number != 7 else None for number in numbers],
        "link": [f"https://example.org/{number}" for number in numbers],
        "title": [f"title {number}" for number in numbers],
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(table), sink, row_group_size=10)
    return sink.getvalue()


@pytest.fixture
def hub(site: Loopback) -> Loopback:
    files = {"README.md": b"# A dataset\n", "data/train-00000.parquet": parquet(0, 30)}
    serve_hub(site, "org/name", REVISION, {**files, "data/train-00001.parquet": parquet(30, 50)})
    return site


def fetch(tmp_path: Path, endpoint: str, out: str = "out", **changes: object) -> subprocess.CompletedProcess[str]:
    """Run `llm-core fetch wiki` in a process of its own."""
    columns = {"text": "content", "url": "link"}
    source = {"kind": "hub", "dataset": "org/name", "revision": REVISION, "columns": columns, "license": "CC0-1.0"}
    network = {"retries": 8, "backoff_seconds": 0.01, "cache": str(tmp_path / "cache")}
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"network": network, "sources": {"wiki": {**source, **changes}}}))
    command = [sys.executable, "-m", "llm_core.cli", "fetch", "wiki", "--out", out, "--params", str(params)]
    environment = hub_environment(endpoint, tmp_path / "hf")
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)


def result(tmp_path: Path, out: str = "out") -> Result:
    return Result(json.loads((tmp_path / out / "metrics.json").read_text()), tmp_path / out)


@pytest.mark.slow
def test_dataset_streams_whatever_the_hub_does_and_once_only(hub, tmp_path):
    hub.faults[f"/api/datasets/org/name/revision/{REVISION}"] = ["503"]
    hub.faults[f"{FILES}/data/train-00000.parquet"] = ["503", "reset"]
    hub.faults[f"{FILES}/data/train-00001.parquet"] = ["truncate", "slow"]
    done = fetch(tmp_path, hub.address)
    assert done.returncode == 0, done.stderr
    first = result(tmp_path)
    expected = [number for number in range(50) if number != 7]
    assert [row["text"] for row in first.documents] == [f"text {number}" for number in expected]
    assert first.dropped == ["quarantine_no_text"]
    assert first.documents[3]["url"] == "https://example.org/3" and first.documents[3]["license"] == "CC0-1.0"
    metadata = json.loads(first.documents[3]["metadata"])
    assert metadata == {"content_type": "text/plain", "hub_id": "3", "title": "title 3"}
    assert not hub.faults[f"{FILES}/data/train-00000.parquet"] and not hub.faults[f"{FILES}/data/train-00001.parquet"]
    hub.log.clear()
    assert fetch(tmp_path, hub.address, "again").returncode == 0
    assert hub.log == []
    for file in sorted(first.out.rglob("*.*")):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(first.out)).read_bytes()


def test_dataset_that_is_not_there_is_one_clear_line(hub, tmp_path):
    done = fetch(tmp_path, hub.address, dataset="org/other")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("llm-core: error: org/other: ")
    assert "Traceback" not in done.stderr


def test_hub_datasets_must_be_pinned():
    with pytest.raises(ValidationError, match="pin 'revision' to a commit"):
        HubSource(kind="hub", dataset="org/name")
    with pytest.raises(ValidationError, match="revision"):
        HubSource(kind="hub", dataset="org/name", revision="main")


def test_local_folder_of_data_files(run, tmp_path):
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train-00000.parquet").write_bytes(parquet(0, 5))
    (folder / "data" / "train-00001.parquet").write_bytes(parquet(30, 35))
    params = HubSource(kind="hub", dataset=str(folder), columns={"text": "content"}, rows=3, shards=1, seed=2)
    texts = [row["text"] for row in run(params).documents]
    assert texts in (["text 0", "text 1", "text 2"], ["text 30", "text 31", "text 32"])
    assert len(run(params.model_copy(update={"rows": None})).documents) == 5


def test_local_folder_of_save_to_disk(run, tmp_path):
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).save_to_disk(str(tmp_path / "saved"))
    fetched = run(HubSource(kind="hub", dataset=str(tmp_path / "saved")))
    assert [row["text"] for row in fetched.documents] == ["a", "b"]
    assert json.loads(fetched.documents[1]["metadata"])["label"] == 1
