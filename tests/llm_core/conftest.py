"""A loopback web server, and network params with quick retries and a cache of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_core.params.sources import Network
from tests.llm_core.corpus.sources.loopback import Loopback


@pytest.fixture
def site() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(retries=6, backoff_seconds=0.01, timeout_seconds=5, cache=str(tmp_path / "cache"))
