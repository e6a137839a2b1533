"""An id names one document: the error for a repeated one names both places, and nothing else is an error."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import UserError
from llm_core.formats import disk_columns, identity
from llm_core.formats.identity import Identities


@given(st.lists(st.text(max_size=2), max_size=40))
def test_an_id_is_refused_exactly_where_it_appears_twice(tmp_path_factory, ids):
    identities = Identities(tmp_path_factory.mktemp("ids"))
    for start in range(0, len(ids), 7):
        identities.add(pa.array(ids[start : start + 7], pa.string()))
    places = [(name, f"f, row {row}") for row, name in enumerate(ids)]
    if len(set(ids)) == len(ids):
        identities.require_unique(iter(places), "stage")
        return
    row = next(row for row, name in enumerate(ids) if name in ids[:row])
    with pytest.raises(UserError) as told:
        identities.require_unique(iter(places), "stage")
    assert f"the id '{ids[row]}' is in f, row {ids.index(ids[row])} and again in f, row {row}" in str(told.value)


def test_equal_hashes_of_different_ids_are_no_repeat(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "hash", lambda _: 7, raising=False)
    identities = Identities(tmp_path)
    identities.add(pa.array(["a", "b"]))
    identities.require_unique(iter([("a", "1"), ("b", "2")]), "stage")


def test_a_repeat_across_two_parts_of_the_sorted_hashes_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "ROWS_AT_ONCE", 2)
    assert disk_columns.ROWS_AT_ONCE > 2
    names = [str(number) for number in range(9)] + ["4"]
    identities = Identities(tmp_path)
    identities.add(pa.array(names))
    with pytest.raises(UserError, match="'4' is in 4 and again in 9"):
        identities.require_unique(((name, str(place)) for place, name in enumerate(names)), "stage")
