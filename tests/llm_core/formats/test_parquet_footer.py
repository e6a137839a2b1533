"""The footer's fields are those that Arrow reads, and a footer that contradicts itself ends no process."""

import gc
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import UserError
from llm_core.formats import parquet_footer
from llm_core.formats.documents import read_documents
from llm_core.formats.parquet_footer import REMEMBERED, check_pages, row_groups
from tests.llm_core.formats.forged import forged_parquet

SEEDS = Path(__file__).parents[2] / "fuzz/seeds"
VALUES = st.sampled_from(
    [pa.array(["a", "b", None]), pa.array([1, 2, 3]), pa.array([[True], [], None]), pa.array([{"x": 1.5}] * 3)]
)


@settings(max_examples=60)
@given(
    st.lists(VALUES, min_size=1, max_size=20),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["zstd", "none"]),
    st.sampled_from(["1.0", "2.6"]),
)
def test_it_says_what_arrow_says(
    columns: list[pa.Array], rows: int, dictionary: bool, packing: str, version: str
) -> None:
    sink = io.BytesIO()
    table = pa.table(columns, names=[f"column {number}" for number in range(len(columns))])
    pq.write_table(table, sink, row_group_size=rows, use_dictionary=dictionary, compression=packing, version=version)
    footer = pq.ParquetFile(sink).metadata
    found = row_groups(footer)
    assert len(found) == footer.num_row_groups
    for number, group in enumerate(found):
        known = footer.row_group(number)
        assert (group.rows, group.decoded, len(group.columns)) == (
            known.num_rows,
            known.total_byte_size,
            known.num_columns,
        )
        for place, chunk in enumerate(group.columns):
            column = known.column(place)
            assert chunk.compressed == column.total_compressed_size
            assert chunk.dictionary == any("DICTIONARY" in name for name in column.encodings)
            assert chunk.strings == (column.physical_type == "BYTE_ARRAY")


def test_a_file_that_was_read_leaves_no_footer_in_memory(tmp_path: Path) -> None:
    """`metadata.schema` and the footer refer to each other: 20 shards of 200,000 documents kept 37 MB in this way."""
    file = tmp_path / "documents.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "source": ["s", "s"], "text": ["one", "one"]}), file)
    gc.collect()
    gc.disable()
    try:
        assert sum(batch.num_rows for batch in read_documents(str(file))) == 2
        assert not [one for one in gc.get_objects() if isinstance(one, pq.FileMetaData)]
    finally:
        gc.enable()


def test_parsed_footers_are_few() -> None:
    for rows in range(1, 2 * REMEMBERED):
        sink = io.BytesIO()
        pq.write_table(pa.table({"text": ["a"] * rows}), sink)
        assert row_groups(pq.ParquetFile(sink).metadata)[0].rows == rows
    assert len(parquet_footer._known) == REMEMBERED


def test_of_a_piece_only_its_own_pages_are_looked_at(tmp_path: Path) -> None:
    """The first page of this file claims 2 GB; other row groups can be read."""
    (tmp_path / "forged.parquet").write_bytes(forged_parquet("zstd", True, 2))
    with pytest.raises(UserError, match="a page claims"):
        list(read_documents(str(tmp_path / "forged.parquet")))
    stream = io.BytesIO((tmp_path / "forged.parquet").read_bytes())
    footer = pq.ParquetFile(stream).metadata
    check_pages(stream, footer, [])
    with pytest.raises(pa.ArrowInvalid, match="a page claims"):
        check_pages(stream, footer, [0])


def test_a_footer_that_contradicts_itself_is_one_line() -> None:
    """Arrow ends the process with a signal when it is asked for a column of this footer."""
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        list(read_documents(str(SEEDS / "histogram-of-wrong-length.parquet")))


@pytest.mark.timeout(30)
def test_a_page_header_with_a_list_of_a_billion_values_without_bytes_is_damaged() -> None:
    with pytest.raises(UserError, match="the footer is damaged"):
        list(read_documents(str(SEEDS / "list-of-a-billion-nothings.parquet")))
