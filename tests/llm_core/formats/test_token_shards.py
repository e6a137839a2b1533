"""Token shards: the same bytes however batched, and opened alike by datasets, pandas, polars and pyarrow."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards, TokenWriter, token_schema

ROWS = [("a", "x", 3, [1, 7, 8, 2]), ("b", "y", 0, [1, 2]), ("c", "x", 9, [1, 9, 9, 9, 9, 2]), ("d", "y", 1, [1, 5, 2])]


def batch(rows: list, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)],
        schema=schema,
    )


def write(folder: Path, cuts: list[int], shard_tokens: int = 7) -> Path:
    schema = token_schema(300, "digest")
    with TokenWriter(folder, schema, shard_tokens) as writer:
        for start, stop in zip([0, *cuts], [*cuts, len(ROWS)], strict=True):
            writer.write(batch(ROWS[start:stop], schema))
    return folder


def test_documents_read_back_across_shards(tmp_path: Path) -> None:
    shards = TokenShards(write(tmp_path, [2], shard_tokens=4))
    assert len(shards.files) > 1 and len(shards) == 4 and shards.tokens == 15
    assert [shards.ids(i).tolist() for i in range(4)] == [row[3] for row in ROWS]
    assert shards.ids(2, 4, 99).tolist() == [9, 2]
    assert [shards.id(i) for i in range(4)] == list("abcd")
    assert shards.column("source") == ["x", "y", "x", "y"] and shards.column("bytes", [2]) == [9]
    assert shards.vocab_size == 300 and shards.tokenizer == "digest" and shards.dtype == np.uint16


def test_ids_are_views_of_the_mapped_file(tmp_path: Path) -> None:
    shards = TokenShards(write(tmp_path, []))
    assert not shards.ids(2).flags.owndata and not shards.ids(2).flags.writeable


def test_same_bytes_however_batched(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", []), write(tmp_path / "other", [1, 3])
    assert [p.read_bytes() for p in sorted(one.iterdir())] == [p.read_bytes() for p in sorted(other.iterdir())]


def test_every_shard_but_the_last_has_half_of_its_size(tmp_path: Path) -> None:
    schema = token_schema(300)
    with TokenWriter(tmp_path, schema, shard_tokens=400) as writer:
        writer.write(batch([(f"document {i}", "x", 20, [1] * 20) for i in range(1000)], schema))
    tokens = [sum(map(len, pa.ipc.open_stream(file).read_all()["input_ids"])) for file in sorted(tmp_path.iterdir())]
    assert sum(tokens) == 20_000 and len(tokens) > 20
    assert all(200 <= some <= 820 for some in tokens[:-1]), tokens


def test_taking_a_document_out_changes_few_files(tmp_path: Path) -> None:
    schema = token_schema(300)
    rows = [(f"document {i}", "x", 20, [1] + [5 + i % 200] * 18 + [2]) for i in range(200)]
    for folder, kept in (("all", rows), ("less", rows[:90] + rows[91:])):
        with TokenWriter(tmp_path / folder, schema, shard_tokens=400) as writer:
            writer.write(batch(kept, schema))
    files = [[file.read_bytes() for file in sorted((tmp_path / folder).iterdir())] for folder in ("all", "less")]
    assert len(files[0]) > 8 and len(set(files[1]) - set(files[0])) <= 4
    assert files[0][0] == files[1][0] and files[0][-1] == files[1][-1]


def test_opened_by_datasets_polars_pandas_and_pyarrow(tmp_path: Path) -> None:
    import datasets
    import polars

    file = str(write(tmp_path, [2], shard_tokens=1 << 20) / "00000.arrow")
    expected = [row[3] for row in ROWS]
    assert datasets.Dataset.from_file(file)["input_ids"][:] == expected
    assert polars.read_ipc_stream(file)["input_ids"].to_list() == expected
    reader = pa.ipc.open_stream(pa.memory_map(file))
    assert [ids.tolist() for ids in reader.read_pandas()["input_ids"]] == expected


def test_a_large_vocabulary_takes_32_bits() -> None:
    assert token_schema(1 << 16).field("input_ids").type.value_type == pa.uint16()
    assert token_schema((1 << 16) + 1).field("input_ids").type.value_type == pa.uint32()


def test_no_documents_give_one_empty_shard(tmp_path: Path) -> None:
    with TokenWriter(tmp_path, token_schema(300)):
        pass
    assert len(TokenShards(tmp_path)) == 0


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no token shards"):
        TokenShards(tmp_path)
    (tmp_path / "00000.arrow").write_bytes(b"not arrow at all, but some text")
    with pytest.raises(UserError, match=r"00000.arrow: not an Arrow stream"):
        TokenShards(tmp_path)


def test_files_of_two_tokenizers_are_no_shards_of_one_folder(tmp_path):
    for name, digest in (("a", "one"), ("b", "two")):
        with TokenWriter(tmp_path / name, token_schema(300, digest)):
            pass
    (tmp_path / "b/00000.arrow").rename(tmp_path / "a/00001.arrow")
    with pytest.raises(UserError, match=r"00001\.arrow: was encoded otherwise than 00000\.arrow"):
        TokenShards(tmp_path / "a")
