"""How documents are cut."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.retrieval.passages import SCHEMA, cited, cut, passages


def test_passages_overlap_and_end_with_the_text() -> None:
    text = "a b c d e f g"
    assert [text[start:stop] for start, stop in cut(text, 3, 1)] == ["a b c", "c d e", "e f g"]
    assert cut("", 3, 1) == []
    assert cut("  one \n", 3, 1) == [(2, 5)]


@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=60), st.integers(2, 9), st.integers(0, 5))
def test_no_word_is_lost(words: list[str], size: int, overlap: int) -> None:
    text = " ".join(words)
    ranges = cut(text, size, overlap)
    covered = {place for start, stop in ranges for place in range(start, stop)}
    assert all(letter == " " or place in covered for place, letter in enumerate(text))
    assert all(len(text[start:stop].split()) <= size + overlap for start, stop in ranges)


def test_text_without_spaces_is_cut_too() -> None:
    text = "小镇附近有河流与山丘。渔民在那里生活。"
    ranges = cut(text, 6, 2)
    assert len(ranges) > 2
    assert "".join(text[start:stop] for start, stop in ranges if start == 0) == "小镇附近有河"
    assert ranges[-1][1] == len(text)


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"title": "Atlas", "page": 3}, "Atlas, page 3"),
        ({"page": 1}, "books, page 1"),
        ({"title": "Atlas"}, "Atlas"),
        ({"title": "Atlas", "page": "three"}, "Atlas"),
        ({"title": "Atlas", "page": 10**30}, "Atlas"),
        ({"title": "Atlas", "page": True}, "Atlas"),
    ],
)
def test_a_citation_names_title_and_page(metadata: dict[str, object], name: str) -> None:
    row = {"id": "1", "source": "books", "url": None, "text": "a river", "metadata": json.dumps(metadata)}
    ((passage,),) = passages([pa.RecordBatch.from_pylist([row])], 10, 2)
    pa.Table.from_pylist([passage], schema=SCHEMA)
    assert cited(passage) == name
