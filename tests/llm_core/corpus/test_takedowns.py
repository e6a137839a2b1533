"""A tombstone names a document by id, address, domain or text, and nothing else."""

import json
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(
    st.sampled_from(["", "http://", "HTTPS://", "ftp://", "//"]),
    st.sampled_from(["", "user@", "user:secret@"]),
    st.sampled_from(["example.org", "EXAMPLE.org", "a.Example.Org", "*.example.org", ".example.org"]),
    st.sampled_from(["", "."]),
    st.sampled_from(["", ":80", ":8080"]),
    st.sampled_from(["", "/"]),
    st.sampled_from(["", " ", "\t"]),
)
def test_a_domain_is_read_in_any_spelling(scheme, user, host, dot, port, slash, blank):
    written = f"{blank}{scheme}{user}{host}{dot}{port}{slash}{blank}"
    read = takedowns.normal("domain", written)
    assert read == ("a.example.org" if host.startswith("a.") else "example.org")
    url = f"{scheme or 'http://'}{user}{host.lstrip('*.')}{dot}{port}/page"
    batch = pa.RecordBatch.from_pylist([{"id": "1", "source": "s", "url": url, "text": ""}], schema=SCHEMA)
    assert takedowns.Takedowns([{"domain": "example.org", "reason": "r"}]).match(batch) == ["domain"]


def test_a_domain_in_its_own_letters_is_the_one_in_ascii():
    assert takedowns.normal("domain", "https://MÜNCHEN.de") == takedowns.normal("domain", "xn--mnchen-3ya.de")


@pytest.mark.parametrize(
    ("kind", "value"),
    [("domain", "*"), ("domain", "https://"), ("domain", "example.org/page"), ("domain", "two words"), ("id", " "),
     ("id", True), ("id", 1.5), ("id", ["1"]), ("text_hash", "abc"), ("url", "")],
)  # fmt: skip
def test_what_can_match_nothing_or_too_much_is_refused(tmp_path, kind, value):
    (tmp_path / "t.jsonl").write_text(json.dumps({kind: value, "reason": "r"}) + "\n")
    with pytest.raises(UserError, match=r"t\.jsonl:1"):
        takedowns.load(tmp_path / "t.jsonl")


def test_a_number_is_the_id_that_it_spells(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"id": 2, "reason": "r"}\n')
    assert takedowns.load(tmp_path / "t.jsonl").match(BATCH) == [None, "id", None]


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example.org/%78",
        "https://a.example.org/y/../x",
        "https://a.example.org/./x",
        "HTTP://A.example.org/x",
        "https://a.example.org./x/",
        "http://u@a.example.org:443/x#part",
    ],
)
def test_an_address_is_read_in_any_spelling(url):
    asked = takedowns.Takedowns([{"url": takedowns.normal("url", url), "reason": "r"}])
    assert asked.match(BATCH) == ["url", None, None]


def test_a_removed_text_does_not_come_back_under_another_id():
    text = " ".join(f"word{n * n % 97}" for n in range(200))
    asked = takedowns.Takedowns([{"id": "x", "reason": "r", **takedowns.describe(text)}])
    rows = [
        text,
        text.replace(" ", "  "),
        text.upper(),
        text.replace("word4 ", "other "),
        f"{text} and a few words more",
    ]
    batch = pa.RecordBatch.from_pylist(
        [{"id": str(n), "source": "s", "text": row} for n, row in enumerate([*rows, "another text", ""])], schema=SCHEMA
    )
    near = takedowns.NEAR
    assert asked.match(batch) == ["text_hash", "text_hash", near, near, near, None, None]


def test_tombstones_that_match_nothing_are_named():
    asked = takedowns.Takedowns(
        [
            {"id": "1", "reason": "r"},
            {"id": "9", "reason": "r"},
            {"domain": "nowhere.org", "reason": "r", "documents": 3},
            {"id": "8", "reason": "r", "text_hash": "0" * 32},
        ]
    )
    asked.match(BATCH)
    assert asked.unmatched() == ["domain nowhere.org", "id 8", "id 9"]
    assert asked.unmatched(by_hand=True) == ["id 9"]


def test_requests_that_are_applied_at_once_are_all_kept(tmp_path):
    file = tmp_path / "takedowns.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: takedowns.add_rows(file, [{"id": str(number), "reason": "r"}]), range(100)))
    assert {row["id"] for row in takedowns.load(file).rows} == set(map(str, range(100)))
