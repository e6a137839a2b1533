"""Every input document is kept or dropped, and the counts agree."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_core.formats.ledger import LedgerWriter, check_balance, counted, read_ledger


def test_counts_by_source_and_reason(tmp_path):
    with LedgerWriter(tmp_path / "ledger", stage="clean") as ledger:
        ledger.record(
            [
                {"id": "1", "source": "a", "verdict": "kept", "bytes": 10},
                {"id": "2", "source": "a", "verdict": "changed", "reason": "unicode", "bytes": 20},
                {
                    "id": "3",
                    "source": "b",
                    "verdict": "dropped",
                    "reason": "gopher_word_count",
                    "score": 3.0,
                    "bytes": 5,
                },
            ]
        )
    summary = ledger.summary()
    assert (summary["documents_in"], summary["documents_kept"], summary["documents_dropped"]) == (3, 2, 1)
    assert summary["bytes_kept"] == 30
    assert summary["dropped_by_reason"] == {"gopher_word_count": 1}
    assert summary["by_source"]["a"]["documents_changed"] == 1
    check_balance(3, summary)
    assert counted(summary) == "3 documents in, 2 kept (1 changed), 1 dropped (1 gopher_word_count)"
    rows = [row for batch in read_ledger(tmp_path) for row in batch.to_pylist()]
    assert [row["stage"] for row in rows] == ["clean"] * 3
    assert rows[2]["score"] == 3.0


def test_a_lost_document_is_an_error(tmp_path):
    with LedgerWriter(tmp_path, stage="clean") as ledger:
        ledger.record([{"id": "1", "source": "a", "verdict": "kept", "bytes": 1}])
    with pytest.raises(RuntimeError, match="out of balance"):
        check_balance(2, ledger.summary())


def test_a_stage_says_what_it_dropped(tmp_path, capfd):
    with LedgerWriter(tmp_path, stage="dedup") as ledger:
        ledger.record([{"id": "1", "source": "a", "verdict": "kept"}, {"id": "2", "source": "a", "verdict": "kept"}])
        ledger.record([{"id": "3", "source": "a", "verdict": "dropped", "reason": "takedown"}])
    ledger.finish(3)
    assert "dedup: 3 documents in, 2 kept, 1 dropped (1 takedown)" in capfd.readouterr().err


def test_a_long_ledger_has_shards_of_bounded_length_and_every_row_in_order(tmp_path):
    """What Arrow holds of a shard until it is closed grows with its rows."""
    count = 700_000
    ids = pa.array(map(str, range(count)))
    with LedgerWriter(tmp_path / "ledger", stage="dedup") as ledger:
        for start in range(0, count, 100_000):
            here = ids.slice(start, 100_000)
            rows = len(here)
            ledger.record_columns(
                rows, id=here, source=pa.repeat("a", rows), verdict=pa.repeat("kept", rows), bytes=pa.repeat(1, rows)
            )
    shards = sorted((tmp_path / "ledger").glob("*.parquet"))
    assert max(pq.read_metadata(shard).num_rows for shard in shards) < 530_000 and len(shards) > 1
    assert pa.chunked_array([batch["id"] for batch in read_ledger(tmp_path / "ledger", ["id"])]).equals(
        pa.chunked_array([ids])
    )
