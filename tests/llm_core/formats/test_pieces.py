"""Pieces give the documents of the whole input, in order and with their places, however they are divided."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_core.formats import pieces
from llm_core.formats.documents import document_files, read_numbered_batches
from llm_core.formats.pieces import cut, divide, on_documents, on_pieces, piece_batches
from llm_core.params.launch import BatchLaunch, PieceLaunch


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Three row groups of 40, 40 and 20 documents in one file, each a piece of its own, and a JSONL file of two."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    table = pa.table({"text": pa.array([f"document {number}" for number in range(100)], pa.large_string())})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=40)
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    return str(tmp_path)


def test_pieces_have_the_documents_and_the_ids_of_the_whole(corpus):
    """Ids that are missing are made of the number of the row in its file."""
    divided = divide(document_files(corpus))
    assert [(piece.first, piece.last, piece.row) for piece in divided] == [(0, 1, 0), (1, 2, 40), (2, 3, 80), (0, 0, 0)]
    assert str(divided[1]) == f"{corpus}/a.parquet (row groups 1 to 1)" and str(divided[3]) == f"{corpus}/b.jsonl"
    columns = ["id", "text"]
    apart = [row for piece in divided for batch in piece_batches(piece, columns, 100) for row in batch.to_pylist()]
    assert apart == [row for _, _, batch in read_numbered_batches(corpus, columns) for row in batch.to_pylist()]


def rows(batches, suffix):
    return [text + suffix for batch in batches for text in batch.column("text").to_pylist()]


def lengths(batch):
    return [len(text) for text in batch.column("text").to_pylist()]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_pieces(corpus, workers):
    found = list(on_pieces(rows, corpus, ("text",), ("!",), PieceLaunch(workers=workers), "tokenizer"))
    assert [len(part) for part in found] == [40, 40, 20, 2] and found[3] == ["one!", "two!"]
    batches = list(on_documents(lengths, corpus, ("text",), ("id",), (), BatchLaunch(workers=workers), "split"))
    assert [batch.schema.names for _, _, batch, _ in batches] == [["text", "id"]] * len(batches)
    assert [number for *_, some in batches for number in some] == [len(f"document {n}") for n in range(100)] + [3, 3]


def test_batches_are_cut_again_to_given_numbers_of_rows():
    batches = [pa.record_batch({"n": [0, 1, 2]}), pa.record_batch({"n": [3]}), pa.record_batch({"n": [4, 5]})]
    assert [part.column("n").to_pylist() for part in cut(iter(batches), [2, 3, 1])] == [[0, 1], [2, 3, 4], [5]]
