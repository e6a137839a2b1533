"""The footer's fields are those that Arrow reads, and a footer that contradicts itself ends no process."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.formats.parquet_footer import row_groups

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


def test_a_footer_that_contradicts_itself_is_one_line() -> None:
    """Arrow ends the process with a signal when it is asked for a column of this footer."""
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        list(read_documents(str(SEEDS / "histogram-of-wrong-length.parquet")))


@pytest.mark.timeout(30)
def test_a_page_header_with_a_list_of_a_billion_values_without_bytes_is_damaged() -> None:
    with pytest.raises(UserError, match="the footer is damaged"):
        list(read_documents(str(SEEDS / "list-of-a-billion-nothings.parquet")))
