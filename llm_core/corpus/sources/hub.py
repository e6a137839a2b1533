"""Source kind `hub`: any dataset of the Hugging Face hub, or a local dataset folder, through `datasets`, streaming.

The revision is pinned to a commit, so that the same params mean the same rows. `HF_ENDPOINT` and `HF_TOKEN` are
respected. `datasets` waits 5 to 60 seconds between its own tries and gives up for good on some breaks; here a stream
that breaks is opened again at the row where it broke. Nothing of a stream is cached, so finished
shards are kept in the scratch folder: a second run reads nothing again.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.base import Document, Record, Shard
from llm_core.corpus.sources.tables import note_columns, to_record
from llm_core.errors import UserError
from llm_core.formats.documents import JSON_LINES
from llm_core.network.downloads import Client
from llm_core.params.sources import HubSource
from llm_core.runtime.json_lines import is_too_deep, read_lines
from llm_core.runtime.progress import log

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


class HubRoom:
    """One split of a dataset; its shards are those of the dataset's files."""

    def __init__(self, params: HubSource, client: Client) -> None:
        self.params, self.client = params, client
        self.not_read: Counter[str] = Counter()
        self.named: set[str] = set()
        self.streaming = params.revision is not None

    def shards(self) -> list[Shard]:
        """The split's shards, or a seeded sample of them."""
        _refuse_what_ends_arrow(Path(self.params.dataset))
        count = self._again(lambda: self._open().num_shards)
        numbers = list(range(count))
        if self.params.shards and self.params.shards < count:
            numbers = sorted(random.Random(self.params.seed).sample(numbers, self.params.shards))
        revision = f"@{self.params.revision[:12]}" if self.params.revision else ""
        name = "/".join(filter(None, [f"{self.params.dataset}{revision}", self.params.config, self.params.split]))
        return [Shard(f"{name}#{number}", parts=(("", number, count),)) for number in numbers]

    def bring(self, shard: Shard) -> None:
        """Nothing: rows are read from the network as they come."""

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream the shard's rows; `key` is the shard and the row."""
        [(_, number, count)] = shard.parts
        row = 0
        tries = 0
        while True:
            try:
                dataset = self._open().shard(count, number)
                for row_ in dataset.skip(row) if row else dataset:
                    yield self._record(row_, f"{shard.name}:{row}", row)
                    row += 1
                    tries = 0
                    if row == self.params.rows:
                        return
                return
            except _broken() as error:
                tries = self._pause(tries, error, f"{shard.name}, row {row}")

    def _record(self, row: dict[str, Any], key: str, offset: int) -> Record:
        note_columns(row, self.params.columns, self.named)
        values = {name: value for name, value in row.items() if name != "id" or "id" in self.params.columns}
        record = to_record(values, key, offset, self.params.columns)
        if isinstance(record, Document):
            origin = {"hub_id": row["id"]} if row.get("id") is not None else {}
            record.metadata.update({**origin, "content_type": self.params.content_type})
        return record

    def _open(self) -> Any:
        """The split as an IterableDataset. Raises UserError where there is no such dataset, config, split or commit."""
        import datasets
        from huggingface_hub.errors import HfHubHTTPError

        from llm_core.network.sessions import trust_the_system

        trust_the_system()  # the hub's client makes its own connections
        datasets.disable_progress_bars()
        datasets.config.STREAMING_READ_MAX_RETRIES = 1  # tries are counted here
        datasets.config.STREAMING_READ_RETRY_INTERVAL = 0
        datasets.config.STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL = 0
        datasets.config.STREAMING_READ_RATE_LIMIT_RETRY_INTERVAL = 0
        name, split = self.params.dataset, self.params.split
        try:
            if Path(name, "state.json").is_file():  # written by Dataset.save_to_disk
                return datasets.load_from_disk(name).to_iterable_dataset(num_shards=1)
            return datasets.load_dataset(
                name, self.params.config, split=split, revision=self.params.revision, streaming=True
            )
        except HfHubHTTPError as error:
            if error.response is None or error.response.status_code >= 429:
                raise
            raise UserError(f"{name}: {' '.join(str(error).split())[:200]}") from None
        except (datasets.exceptions.DatasetNotFoundError, ValueError, FileNotFoundError) as error:
            if isinstance(error.__cause__, ConnectionError | HfHubHTTPError):
                raise ConnectionError(str(error)) from None
            raise UserError(f"{name}: {' '.join(str(error).split())[:300]}") from None

    def _again(self, act: Any) -> Any:
        tries = 0
        while True:
            try:
                return act()
            except _broken() as error:
                tries = self._pause(tries, error, self.params.dataset)

    def _pause(self, tries: int, error: BaseException, where: str) -> int:
        """Wait before the next try, longer each time; UserError when all are used up."""
        network = self.client.network
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        if tries == network.retries:
            raise UserError(
                f"{where}: {reason} (after {tries + 1} tries); run again to go on from the last whole shard"
            )
        pause = min(network.backoff_seconds * 2**tries, 120.0) * random.uniform(0.5, 1.5)
        log(f"{where}: {reason}; try {tries + 2} of {network.retries + 1} in {pause:.1f} s")
        time.sleep(pause)
        return tries + 1


def _refuse_what_ends_arrow(folder: Path) -> None:
    """Raise UserError for a local file of JSON lines that would end the process: `datasets` reads them with Arrow."""
    for file in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if file.is_file() and file.name.lower().endswith(JSON_LINES) and not file.name.startswith("."):
            for number, line in enumerate(read_lines(file), start=1):
                if is_too_deep(line) or line.lstrip().startswith(b"null"):
                    raise UserError(
                        f"{file}:{number}: nested too deep, or null, which `datasets` cannot read; a source of kind "
                        "`files` quarantines such lines"
                    )


def _broken() -> tuple[type[BaseException], ...]:
    """What a broken connection to the hub raises, through the layers between."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    return (ConnectionError, TimeoutError, httpx2.HTTPError, HfHubHTTPError)
