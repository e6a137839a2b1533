"""Documents keep their ids, order and number through every format, and the error for a broken file names the place."""

import gzip
import json
import random
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import UserError
from llm_core.formats.document_lines import parsed_batch, plain_batch
from llm_core.formats.documents import (
    SCHEMA,
    DocumentWriter,
    count_documents,
    document_files,
    document_id,
    read_batches,
    read_documents,
    unchanged,
)
from llm_core.formats.schema import row_id


def rows(count: int, text: str = "text") -> list[dict]:
    return [{"id": document_id("s", str(n)), "source": "s", "text": f"{text} {n}"} for n in range(count)]


def texts(path: Path) -> list[str]:
    return [text for batch in read_documents(path) for text in batch.column("text").to_pylist()]


def test_ids_are_stable_and_tell_apart_where_a_part_ends():
    assert document_id("bible", "Genesis 1") == document_id("bible", "Genesis 1")
    assert document_id("ab", "c") != document_id("a", "bc")
    assert len(document_id("a", "b")) == 32


def test_written_documents_come_back_in_order(tmp_path):
    with DocumentWriter(tmp_path / "documents") as writer:
        writer.write_rows(rows(2500))
    assert texts(tmp_path) == [row["text"] for row in rows(2500)]
    assert count_documents(tmp_path) == 2500


def test_bytes_do_not_depend_on_how_rows_were_batched(tmp_path):
    everything = rows(3000)
    with DocumentWriter(tmp_path / "a") as writer:
        writer.write_rows(everything)
    with DocumentWriter(tmp_path / "b") as writer:
        for start in range(0, 3000, 7):
            writer.write_rows(everything[start : start + 7])
    assert (tmp_path / "a/00000.parquet").read_bytes() == (tmp_path / "b/00000.parquet").read_bytes()


def test_shards_end_at_the_size_asked_for(tmp_path):
    with DocumentWriter(tmp_path / "documents", shard_bytes=20_000) as writer:
        writer.write_rows(rows(4096, "x" * 20))
    assert writer.shards > 2
    assert sum(pq.read_metadata(file).num_rows for file in (tmp_path / "documents").iterdir()) == 4096


def test_taking_a_document_out_changes_only_its_own_part_of_the_shards(tmp_path):
    everything = rows(4000, "x" * 100)
    for name, kept in {"all": everything, "fewer": everything[:1234] + everything[1235:]}.items():
        with DocumentWriter(tmp_path / name, shard_bytes=8_000) as writer:
            writer.write_rows(kept)
    shards = {file.read_bytes() for file in (tmp_path / "all").iterdir()}
    fewer = {file.read_bytes() for file in (tmp_path / "fewer").iterdir()}
    assert len(shards) > 40
    assert 1 <= len(shards - fewer) <= 2


def test_an_empty_input_still_has_a_schema(tmp_path):
    with DocumentWriter(tmp_path / "documents"):
        pass
    assert pq.read_schema(tmp_path / "documents/00000.parquet").names == SCHEMA.names
    assert texts(tmp_path) == []


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_jsonl_of_every_compression(tmp_path, ending):
    data = b"".join(json.dumps({"text": f"line {n}", "stars": n}).encode() + b"\n" for n in range(5))
    if ending.endswith("gz"):
        data = gzip.compress(data[:30]) + gzip.compress(data[30:])  # two members, as crawlers write them
    elif ending.endswith("zst"):
        data = zstandard.compress(data[:30]) + zstandard.compress(data[30:])
    file = tmp_path / f"pages.{ending}"
    file.write_bytes(data)
    batch = next(iter(read_documents(file)))
    assert batch.column("text").to_pylist() == [f"line {n}" for n in range(5)]
    assert json.loads(batch.column("metadata")[3].as_py()) == {"stars": 3}
    assert batch.column("source").to_pylist() == ["pages"] * 5
    assert len(set(batch.column("id").to_pylist())) == 5


def test_parquet_with_text_alone_is_completed(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"], "other": [1, 2]}), tmp_path / "mine.parquet")
    batch = next(iter(read_documents(tmp_path / "mine.parquet")))
    assert batch.schema.names == SCHEMA.names
    assert batch.column("source").to_pylist() == ["mine", "mine"]


def test_a_stage_folder_stands_for_its_documents(tmp_path):
    for part in ("documents", "ledger"):
        with DocumentWriter(tmp_path / part) as writer:
            writer.write_rows(rows(1))
    assert [Path(file).parent.name for file in document_files(tmp_path)] == ["documents"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"text": "fine"}\n{"text": 3}\n', "a.jsonl:2"),
        ("a.jsonl", b'{"text": "fine"}\nnonsense\n', "a.jsonl:2"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "fine"}\n' * 1000, mtime=0)[:40], "truncated"),
        ("a.jsonl.zst", b"not zstd at all", "broken"),
        ("a.parquet", b"not parquet at all", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        list(read_documents(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_files_are_named_as_they_were_asked_for(tmp_path, monkeypatch):
    with DocumentWriter(tmp_path / "data/documents") as writer:
        writer.write_rows(rows(1))
    monkeypatch.chdir(tmp_path)
    assert document_files("data") == ["data/documents/00000.parquet"]


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        document_files(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no documents"):
        document_files(tmp_path)


def test_the_same_reader_opens_an_object_store():
    import fsspec

    with fsspec.open("memory://bucket/docs/a.jsonl", "wb") as stream:
        stream.write(b'{"text": "far away"}\n')
    assert [batch.column("text").to_pylist() for batch in read_documents("memory://bucket/docs")] == [["far away"]]


def test_jsonl_keeps_what_a_fast_parser_would_round_or_refuse(tmp_path):
    large = 123456789012345678901234567890
    file = tmp_path / "a.jsonl"
    file.write_text(
        f'{{"id": {large}, "text": "one", "n": {large}}}\n{{"text": "two", "x": NaN}}\n'
        '{"text": "three", "url": null}\n'
    )
    first, second, third = (row for batch in read_batches(file) for row in batch.to_pylist())
    assert (first["id"], first["metadata"]) == (str(large), f'{{"n": {large}}}')
    assert (second["source"], second["metadata"]) == ("a", '{"x": NaN}')
    assert (third["id"], third["metadata"], third["url"]) == (row_id(str(file), 3), None, None)
    only = [row for batch in read_batches(file, ["id", "text"]) for row in batch.to_pylist()]
    assert only[0] == {"id": str(large), "text": "one"}


ODD_LINES = [
    b'{"text": "x", "url": null, "source": null}',
    b'{"id": "", "text": "", "created": "2020-01-01"}',
    b'{"text": "x", "extra": 1}',
    b'{"text": "x", "metadata": {"a": 1}}',
    b'{"id": 7, "text": "x"}',
    b'{"text": null}',
    b'{"text": ["x"]}',
    b'{"url": "no text"}',
    b'{"text": "one", "text": "two"}',
    b'{"text": "x"}{"text": "y"}',
    b'{"text": "x"},',
    b'[{"text": "x"}]',
    b'{"text": "not UTF-8: \xff"}',
    rb'{"text": "escapes \u00e9 \u0000 \n \ud83d\ude00"}',
    b'{"text": "x", "extra": NaN}',
    b"",
    b'  {"text": "indented"}  ',
    b'{"text":',
    b'"x"}',
]


@given(st.lists(st.sampled_from([b'{"id": "a", "text": "plain"}', *ODD_LINES]), min_size=1, max_size=4), st.booleans())
def test_arrows_parser_says_what_the_line_parser_says(lines, everything):
    wanted = SCHEMA.names if everything else ["id", "text"]
    lines = [line + b"\n" for line in lines]
    fast = plain_batch(lines, 5, "folder/name.jsonl", wanted)
    if fast is not None:
        assert fast.equals(parsed_batch(lines, 5, "folder/name.jsonl", wanted))


def test_plain_lines_go_through_arrows_parser():
    lines = [b'{"id": "a", "text": "one", "url": "u"}\n', b'{"text": "two"}\n']
    for wanted in (SCHEMA.names, ["text"]):
        fast = plain_batch(lines, 1, "a.jsonl", wanted)
        assert fast is not None
        assert fast.schema.equals(pa.schema([SCHEMA.field(name) for name in wanted]))
        assert fast.equals(parsed_batch(lines, 1, "a.jsonl", wanted))


def test_files_of_one_name_in_two_folders_give_different_ids(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("en", "de"):
        Path(folder).mkdir()
        Path(folder, "a.jsonl").write_text('{"text": "one"}\n')
        pq.write_table(pa.table({"text": ["one"]}), Path(folder, "b.parquet"))
    ids = [row["id"] for batch in read_documents(["en", "de"]) for row in batch.to_pylist()]
    assert len(set(ids)) == 4
    # The same file gives the same ids, however it is named.
    again = [row["id"] for batch in read_documents([tmp_path / "en", "./de"]) for row in batch.to_pylist()]
    assert again == ids


@pytest.mark.parametrize("name", ["null", "[]", "1", '{"text": "a"}\nnull', "[" * 10_000, '{"text": "\\ud800"}'])
def test_lines_that_end_other_parsers_are_one_clear_line(tmp_path, name):
    (tmp_path / "a.jsonl").write_text(name)
    with pytest.raises(UserError, match=r"a\.jsonl:[12]: "):
        list(read_batches(tmp_path / "a.jsonl"))


def test_files_whose_names_cannot_be_written_down_are_named(tmp_path):
    (tmp_path / "A.JSONL").write_text('{"text": "one"}\n')
    assert len(document_files(tmp_path)) == 1
    with open(bytes(tmp_path) + b"/\xff.jsonl", "w") as stream:
        stream.write('{"text": "one"}\n')
    for path in (tmp_path, f"{tmp_path}/\udcff.jsonl"):
        with pytest.raises(UserError, match=r"\\udcff.* not UTF-8"):
            document_files(path)


def defined_shards(rows, shard_bytes):
    """Rows of each row group of each shard, by the rule, document by document."""
    shards, groups, pending, pending_bytes, size = [], [], 0, 0, 0
    for row in rows:
        own = len(row["text"].encode())
        pending, pending_bytes, size = pending + 1, pending_bytes + own, size + own
        ends = zlib.crc32(row["id"].encode()) * shard_bytes < own << 33
        full = size * 2 >= shard_bytes and (ends or size >= 2 * shard_bytes)
        if full or pending >= 1024 or pending_bytes >= 32 << 20:
            groups.append(pending)
            pending = pending_bytes = 0
        if full:
            shards.append(groups)
            groups, size = [], 0
    groups += [pending] if pending else []
    return [*shards, groups] if groups or not shards else shards


@pytest.mark.parametrize("shard_bytes", [1, 64, 5_000, 40_000, 1 << 27])
def test_shards_and_row_groups_end_where_the_rule_says(tmp_path, shard_bytes):
    draw = random.Random(shard_bytes)
    rows = [
        {"id": f"d{number}", "source": "s", "text": "x" * draw.choice([0, 1, 7, 60, 900])} for number in range(3000)
    ]
    with DocumentWriter(tmp_path / "documents", shard_bytes) as writer:
        start = 0
        while start < len(rows):
            size = draw.randint(1, 1500)
            writer.write_rows(rows[start : start + size])
            start += size
    found = [pq.ParquetFile(file).metadata for file in sorted((tmp_path / "documents").iterdir())]
    groups = [[shard.row_group(number).num_rows for number in range(shard.num_row_groups)] for shard in found]
    assert groups == defined_shards(rows, shard_bytes)


def test_the_bytes_do_not_depend_on_how_the_rows_were_batched(tmp_path):
    """Row groups of several pages: a page is some megabyte."""
    rows = [{"id": f"d{n}", "source": "s", "text": random.Random(n).randbytes(1500).hex()} for n in range(1500)]
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    written = set()
    for size in (1500, 700, 1):
        with DocumentWriter(tmp_path / str(size)) as writer:
            for start in range(0, len(rows), size):
                writer.write(batch.slice(start, size))
        written.add((tmp_path / str(size) / "00000.parquet").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("how", ["written anew", "replaced", "added", "removed"])
def test_a_stage_of_several_passes_stops_where_another_process_changes_its_input(tmp_path, how):
    def write(folder, count):
        with DocumentWriter(folder / "documents") as writer:
            writer.write_rows(rows(count))

    def change():
        if how == "written anew":
            write(tmp_path / "in", 5)
        elif how == "added":
            (tmp_path / "in/documents/more.jsonl").write_text('{"text": "one"}')
        else:
            (tmp_path / "in").rename(tmp_path / "old")
        if how == "replaced":  # by as many documents, as a stage replaces its output
            write(tmp_path / "in", 5)

    write(tmp_path / "in", 5)
    with unchanged([tmp_path / "in"]):
        assert len(texts(tmp_path / "in")) == 5
    with pytest.raises(IndexError), unchanged([tmp_path / "in"]):
        raise IndexError
    with pytest.raises(UserError, match="was changed while it was read"), unchanged([tmp_path / "in"]):
        change()
        if how == "removed":  # what the second pass says of it
            texts(tmp_path / "in")
