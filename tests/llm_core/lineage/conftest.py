"""A small finished pipeline: 40 documents, some dropped, some duplicates, tokens, a model and its child."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from llm_core.formats.documents import DocumentWriter, document_id
from llm_core.formats.ledger import LedgerWriter
from llm_core.formats.token_shards import TokenWriter, token_schema
from llm_core.training.pretraining.batches import Batches

IDS = [document_id("web", str(number)) for number in range(40)]
STEPS = 21  # of 4 sequences: twice over the 38 documents and a little more


def rows() -> list[dict]:
    """Documents 0 to 39; 3 and 4 have the same text, 39 is too short to be kept."""
    return [
        {
            "id": IDS[number],
            "source": "web",
            "url": f"https://host{number % 3}.example.org/page/{number}",
            "text": f"The treaty of article {3 if number == 4 else number} was signed by both parties",
            "license": "public-domain",
        }
        for number in range(40)
    ]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the finished pipeline, entered."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    everything = rows()
    _stage(data / "raw/web", "fetch", everything, [])
    _stage(data / "clean/web", "clean", everything, [{"id": IDS[39], "verdict": "dropped", "reason": "too_short"}])
    duplicate = {"cluster_id": IDS[3], "survivor_id": IDS[3]}
    _stage(
        data / "dedup",
        "dedup",
        everything[:39],
        [
            {"id": IDS[3], "verdict": "kept", **duplicate},
            {"id": IDS[4], "verdict": "dropped", "reason": "exact_duplicate", "score": 1.0, **duplicate},
        ],
    )
    schema = token_schema(256)
    kept = [row for row in everything[:39] if row["id"] != IDS[4]]
    with TokenWriter(data / "tokens/train", schema) as writer:
        ids = [[1, *row["text"].encode(), 2] for row in kept]
        columns = [[row["id"] for row in kept], ["web"] * len(kept), [len(row["text"]) for row in kept], ids]
        writer.write(
            pa.RecordBatch.from_arrays(
                [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
            )
        )
    loader = Batches(data / "tokens/train", sequence_length=64, sequences_per_step=4, seed=5, pad_id=0)
    base = data / "models/base"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    record = {"tokens": "data/tokens/train", "loader": loader.state_dict(), "steps": STEPS, "parent": None}
    (base / "training_data.json").write_text(json.dumps(record))
    child = data / "models/instruction"
    child.mkdir()
    (child / "config.json").write_text("{}")
    (child / "metrics.json").write_text(
        json.dumps({"parent": {"path": "data/models/base", "digest": "as finetune notes"}})
    )
    return tmp_path


def _stage(folder: Path, stage: str, documents: list[dict], verdicts: list[dict]) -> None:
    told = {row["id"]: row for row in verdicts}
    judged = [told.get(row["id"], {"id": row["id"], "verdict": "kept"}) for row in documents]
    dropped = {row["id"] for row in judged if row["verdict"] == "dropped"}
    with DocumentWriter(folder / "documents") as writer:
        writer.write_rows([row for row in documents if row["id"] not in dropped])
    with LedgerWriter(folder / "ledger", stage) as ledger:
        ledger.record([{**row, "source": "web"} for row in judged])
