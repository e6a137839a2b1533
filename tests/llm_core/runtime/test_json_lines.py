"""JSON lines: written rows are read back unchanged, and malformed lines are refused with their number."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import UserError
from llm_core.runtime import json_lines

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\u2028\u2029\u0085\x0b\x0c\x1c\r\n"\\'))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=5))
def test_rows_come_back_as_they_were_written(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    json_lines.write_rows(file, rows)
    assert json_lines.load_rows(file) == rows
    # Readers outside the project that use str.splitlines see the same lines.
    assert len(file.read_bytes().decode().splitlines()) == len(rows)


def test_lines_end_at_line_feeds_alone_and_a_byte_order_mark_is_no_part_of_them(tmp_path):
    file = tmp_path / "rows.jsonl"
    text = '\ufeff{"a": "x\u2028y\u2029z\u0085"}\r\n\n{"a": 2}'
    file.write_bytes(text.encode())
    assert list(json_lines.read_rows(file)) == [(1, {"a": "x\u2028y\u2029z\u0085"}), (3, {"a": 2})]
    assert json_lines.text_lines("\ufeffone\u2028still one\r\ntwo\n") == ["one\u2028still one", "two"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
        (b'{"a": "' + b"\\" * 100 + b'", "b": ' + b"[" * 500, "too_deep"),
        (b'{"a": "\\ud800"}', "half_surrogate"),
        (b'{"\\udc00": 1}', "half_surrogate"),
        (b'{"a": "\xed\xa0\x80"}', "no_json"),
        (b'{"a": "\xff"}', "no_json"),
        (b'{"a": 1},', "no_json"),
        (b"", "no_json"),
    ],
)
def test_a_hostile_line_is_refused_by_name(line, reason):
    with pytest.raises(json_lines.JsonLineError) as caught:
        json_lines.parse(line)
    assert caught.value.reason == reason


def test_brackets_inside_strings_are_no_levels():
    row = {"code": '[{"' * 5_000 + "\\", "rows": [[1], [2]] * 500}
    assert json_lines.parse(json.dumps(row).encode()) == row


def test_a_pair_of_surrogates_is_a_character():
    assert json_lines.parse(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_errors_name_file_and_line(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(UserError, match=r"rows.jsonl:2: a JSON object"):
        json_lines.load_rows(file)
    file.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(UserError, match=r"rows.jsonl:2: not valid JSON"):
        json_lines.load_rows(file)
    assert json_lines.load_rows(file, cut_short=True) == [{"a": 1}]
    with pytest.raises(UserError, match="no such file"):
        json_lines.load_rows(tmp_path / "none.jsonl")
    assert json_lines.load_rows(tmp_path / "none.jsonl", missing_ok=True) == []


def test_half_a_surrogate_pair_is_not_written(tmp_path):
    with pytest.raises(UserError, match="surrogate"):
        json_lines.write_rows(tmp_path / "rows.jsonl", [{"a": "\ud800"}])
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_line_that_is_too_long_is_passed_over_by_its_length(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"a\n" + b"x" * 100 + b"\nb\n")
    assert list(json_lines.raw_lines(file, max_bytes=10)) == [b"a\n", json_lines.TooLong(101), b"b\n"]
    with pytest.raises(UserError, match=r":2: a line of 101 bytes"):
        list(json_lines.read_lines(file, max_bytes=10))
