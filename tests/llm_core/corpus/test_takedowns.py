"""A tombstone names a document by id, address, domain or text, and nothing else."""

import pyarrow as pa
import pytest

from llm_core.corpus import takedowns
from llm_core.errors import UserError
from llm_core.formats.documents import SCHEMA

BATCH = pa.RecordBatch.from_pylist(
    [
        {"id": "1", "source": "s", "url": "https://a.example.org/x", "text": "one  two\n"},
        {"id": "2", "source": "s", "url": "https://example.organic/x", "text": "three"},
        {"id": "3", "source": "s", "url": None, "text": "one two"},
    ],
    schema=SCHEMA,
)


@pytest.mark.parametrize(
    ("tombstone", "expected"),
    [
        ({"id": "2"}, [None, "id", None]),
        ({"url": "https://a.example.org/x"}, ["url", None, None]),
        ({"domain": "Example.org"}, ["domain", None, None]),
        ({"text_hash": takedowns.text_hash("one two")}, ["text_hash", None, "text_hash"]),
    ],
)
def test_what_a_tombstone_matches(tmp_path, tombstone, expected):
    takedowns.write_rows(tmp_path / "t.jsonl", [{**tombstone, "reason": "asked"}])
    assert takedowns.load(tmp_path / "t.jsonl").match(BATCH) == expected


def test_no_file_removes_nothing(tmp_path):
    assert takedowns.load(tmp_path / "absent").match(BATCH) == [None] * 3


@pytest.mark.parametrize(
    "line", ['{"id": "1"}', '{"reason": "r"}', '{"id": "1", "url": "u", "reason": "r"}', "[]", "{"]
)
def test_a_line_that_is_no_tombstone_is_refused_with_its_place(tmp_path, line):
    (tmp_path / "t.jsonl").write_text(f'{{"id": "1", "reason": "r"}}\n{line}\n')
    with pytest.raises(UserError, match=r"t\.jsonl:2"):
        takedowns.load(tmp_path / "t.jsonl")


def test_the_file_does_not_depend_on_the_order_of_requests(tmp_path):
    rows = [{"id": "2", "reason": "r"}, {"id": "1", "reason": "r"}]
    takedowns.write_rows(tmp_path / "a", rows)
    takedowns.write_rows(tmp_path / "b", [*reversed(rows), rows[0]])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
