"""Fixtures of several rooms: a loopback web server, the fetch stage with quick retries, a tiny model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llm_core.corpus.sources.stage import fetch
from llm_core.params.sources import Network
from tests.llm_core.corpus.sources.loopback import Loopback
from tests.llm_core.tiny_gpt2 import make


@pytest.fixture
def site() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny GPT-2 with random weights."""
    return make(tmp_path_factory.mktemp("gpt2") / "model")


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(retries=6, backoff_seconds=0.01, timeout_seconds=5, cache=str(tmp_path / "cache"))


@pytest.fixture
def run(tmp_path: Path, network: Network) -> Callable[..., "Result"]:
    """Fetch a source into a fresh folder; give its metrics, documents and ledger."""

    def fetch_it(params: Any, name: str = "corpus", out: str = "out") -> Result:
        metrics = fetch(name, params, network, tmp_path / out, tmp_path / "scratch")
        return Result(metrics, tmp_path / out)

    return fetch_it


class Result:
    """What a fetch left behind."""

    def __init__(self, metrics: dict[str, Any], out: Path) -> None:
        self.metrics, self.out = metrics, out
        self.documents: list[dict[str, Any]] = pq.read_table(out / "documents").to_pylist()
        self.ledger: list[dict[str, Any]] = pq.read_table(out / "ledger").to_pylist()
        kept = [row["id"] for row in self.ledger if row["verdict"] != "dropped"]
        assert kept == [row["id"] for row in self.documents]
        assert len({row["id"] for row in self.documents}) == len(self.documents)

    @property
    def dropped(self) -> list[str]:
        """Reasons of the dropped records, in order."""
        return [row["reason"] for row in self.ledger if row["verdict"] == "dropped"]
