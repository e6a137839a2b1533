"""Data sets of users: their own split, layouts, labels, tables; every row is kept or counted by a reason."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_core.errors import UserError
from llm_core.formats.row_files import read_file
from llm_core.params import Params
from llm_core.params.finetuning import Data
from llm_core.training.finetuning.data.dataset import convert, from_dataset
from llm_core.training.finetuning.data.labels import label_of
from llm_core.training.finetuning.data.readers import split_named
from llm_core.training.finetuning.rows import read_rows, write_rows

SEED = 20261123


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def texts(word, count, label=lambda at: "ab"[at % 2]):
    return [
        {"text": f"{word} row {at} about river {at * 7} and town {at * 13}", "label": label(at)} for at in range(count)
    ]


def balanced(split, metrics):
    kept = sum(map(len, split.values()))
    left = metrics["bad_rows"] + metrics["exact_duplicates"] + sum(metrics["near_duplicates"].values())
    return metrics["rows_in"] == kept + left + metrics["not_drawn"]


@pytest.mark.parametrize("names", [("train.jsonl", "test.jsonl"), ("train/0.jsonl", "test/0.jsonl")])
def test_a_data_sets_own_test_rows_never_enter_training(tmp_path, names):
    write(tmp_path / names[0], texts("training", 30))
    write(tmp_path / names[1], texts("official", 20))
    write(tmp_path / ".ipynb_checkpoints/train.jsonl", texts("stale", 10))
    split, metrics = from_dataset("classification", str(tmp_path), Data(), SEED)
    assert {row["text"].split()[0] for row in split["test"]} == {"official"}
    assert {row["text"].split()[0] for row in split["train"] + split["heldout"]} == {"training"}
    assert len(split["test"]) == 20
    assert metrics["hidden_files"] == 1
    assert balanced(split, metrics)


def test_a_split_field_and_a_list_for_each_side_are_a_split_too(tmp_path):
    rows = [row | {"split": "test" if at > 24 else "train"} for at, row in enumerate(texts("field", 30))]
    write(tmp_path / "field.jsonl", rows)
    (tmp_path / "sides.json").write_text(json.dumps({"train": texts("of", 25), "test": texts("for", 5)}))
    for name in ("field.jsonl", "sides.json"):
        split, _ = from_dataset("classification", str(tmp_path / name), Data(), SEED)
        assert len(split["test"]) == 5, name


def test_names_of_sides():
    found = {name: split_named(name) for name in ("test-00000-of-00001.parquet", "validation.csv", "contest.csv")}
    assert found == {"test-00000-of-00001.parquet": "test", "validation.csv": "heldout", "contest.csv": None}


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), 1.0, 0.5, True, ["good"], {"a": 1}, "nan", "\ud800"])
def test_what_is_no_label_is_refused(value):
    with pytest.raises(ValueError, match="field 'label'"):
        label_of(value)


@given(st.one_of(st.integers(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)))
def test_a_label_is_its_text_without_surrounding_blanks(value):
    try:
        assert label_of(value) == str(value).strip() == label_of(f" {value} ")
    except ValueError:
        assert str(value).strip().lower() in ("", "nan", "<na>")


@pytest.mark.parametrize("pair", [("good", "good "), ("Good", "good"), ("1", "1.0"), ("e\u0301", "\u00e9")])
def test_two_spellings_of_a_class_are_named_with_their_places(tmp_path, pair):
    write(tmp_path / "rows.jsonl", texts("spelled", 20, lambda at: pair[at % 2]))
    with pytest.raises(UserError, match=r"labels that differ only .* first in .*rows.jsonl:[12]\).*rows.jsonl:[12]"):
        from_dataset("classification", str(tmp_path / "rows.jsonl"), Data(), SEED)


def test_tables_as_spreadsheets_and_pandas_write_them(tmp_path):
    rows = [(f'she said "number {at}"', "ab"[at % 2]) for at in range(4)]
    for name, encoding, mark in (("a.csv", "utf-8-sig", ","), ("b.tsv", "utf-8", "\t"), ("c.csv", "utf-16", ";")):
        with open(tmp_path / name, "w", encoding=encoding, newline="") as stream:
            csv.writer(stream, delimiter=mark).writerows([("text", "label"), *rows])
        assert [tuple(row.values()) for _, row in read_file(tmp_path / name)] == rows, name
    (tmp_path / "raw.tsv").write_text('text\tlabel\n"hello she said\ta\nwell"\tb\n')
    assert [row["text"] for _, row in read_file(tmp_path / "raw.tsv")] == ['"hello she said', 'well"']
    (tmp_path / "twice.csv").write_text("text,label,label\na,b,c\n")
    with pytest.raises(UserError, match="column 'label' twice"):
        list(read_file(tmp_path / "twice.csv"))


def test_the_format_is_the_stated_one_or_that_of_the_first_row(tmp_path):
    alpaca = [{"instruction": f"question {at * 7}", "output": f"answer {at}"} for at in range(20)]
    shared = {"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]}
    write(tmp_path / "mixed.jsonl", [*alpaca, shared])
    with pytest.raises(UserError, match=r"mixed.jsonl:21: this row has the layout sharegpt .* before it alpaca"):
        from_dataset("instruction", str(tmp_path / "mixed.jsonl"), Data(), SEED)
    with pytest.raises(UserError, match="20 of 21 rows are bad"):
        from_dataset("instruction", str(tmp_path / "mixed.jsonl"), Data(format="sharegpt"), SEED)
    both = alpaca[0] | shared
    said = [
        convert("instruction", both, Data(format=form))["messages"][0]["content"] for form in ("alpaca", "sharegpt")
    ]
    assert said == ["question 0", "hello"]
    with pytest.raises(UserError, match="dpo reads hh-rlhf, preference"):
        from_dataset("dpo", str(tmp_path / "mixed.jsonl"), Data(format="alpaca"), SEED)
    with pytest.raises(ValidationError, match="no layout of rows"):
        Params.model_validate({"finetuning": {"runs": {"dpo": {"data": {"format": "alpacca"}}}}})


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([], r"rows.csv: holds no row; put rows into it, or name another file in data.path"),
        (["good"] * 20, r"all 20 rows have the label 'good', and classification needs two: .* data.columns"),
        ([f"label {at}" for at in range(20)], r"20 labels, the most frequent with 1 rows.* data.columns"),
        (
            ["good", "bad"],
            r"a minimum of 6 rows is needed with data.heldout_share 0.1 .*raise these, or give more rows",
        ),
    ],
)
def test_too_little_of_a_kind_names_what_to_change(tmp_path, labels, told):
    rows = "".join(f"text number {at} with its own words {at * 7},{label}\n" for at, label in enumerate(labels))
    (tmp_path / "rows.csv").write_text(f"text,label\n{rows}")
    with pytest.raises(UserError, match=told):
        from_dataset("classification", str(tmp_path / "rows.csv"), Data(), SEED)


def turn(role, content):
    return {"role": role, "content": content}


ASKED, OTHER = turn("user", "a"), turn("user", "c")
NO_PAIRS = [
    ("same prompt", {"chosen": [ASKED, turn("assistant", "b")], "rejected": [OTHER, turn("assistant", "d")]}),
    ("same prompt", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"}),
    ("field 'chosen' is missing, empty", {"prompt": "a", "chosen": [], "rejected": []}),
    ("'content' is missing", {"chosen": [ASKED, turn("assistant", "")], "rejected": [ASKED, turn("assistant", "b")]}),
    (
        "'prompt' is not",
        {"prompt": "x", "chosen": [ASKED, turn("assistant", "b")], "rejected": [ASKED, turn("assistant", "c")]},
    ),
    ("is a list of turns", {"prompt": "a", "chosen": "b", "rejected": [turn("assistant", "c")]}),
    ("field 'rejected'", {"prompt": "a", "chosen": "b", "rejected": " "}),
    ("no prompt", {"chosen": [turn("assistant", "b")], "rejected": [turn("assistant", "c")]}),
]


@pytest.mark.parametrize(("said", "raw"), NO_PAIRS)
def test_a_pair_that_is_no_pair_is_refused(said, raw):
    with pytest.raises(ValueError, match=said):
        convert("dpo", raw, Data())


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_too_few_rows_for_a_split_say_the_minimum_and_the_knob(tmp_path, count):
    write(tmp_path / "rows.jsonl", texts("few", count))
    with pytest.raises(UserError, match=r"too few rows .* minimum of 6 rows .* data.heldout_share 0.1"):
        from_dataset("classification", str(tmp_path / "rows.jsonl"), Data(), SEED)


@pytest.mark.parametrize("method", ["classification", "instruction", "reward", "dpo", "rlhf", "contrastive"])
def test_an_empty_side_is_one_line_before_any_training(tmp_path, method):
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "d"}]
    row = {"text": "a", "label": "b", "messages": talk, "prompt": "a", "chosen": "b", "rejected": "c", "answer": "d"}
    made = [row | {"query": "q", "passage": "p"}] * 4
    write_rows(tmp_path, {"train": made, "heldout": made, "test": []})
    with pytest.raises(UserError, match=rf"test.jsonl: 0 rows; {method} needs a minimum of 1"):
        read_rows(tmp_path, method)


def test_a_folder_without_data_names_what_is_read(tmp_path):
    (tmp_path / "notes.pdf").write_text("x")
    with pytest.raises(UserError, match=r"no data file \(.*\.jsonl.*1 files of other kinds"):
        from_dataset("classification", str(tmp_path), Data(), SEED)


def test_an_id_names_one_row(tmp_path, capfd):
    rows = [row | {"id": "topic"} for row in texts("same", 20)]
    stated = [row | {"id": "topic", "split": "test"} for row in texts("stated", 5)]
    write(tmp_path / "rows.jsonl", [*rows, *rows[:3], *stated])
    split, metrics = from_dataset("classification", str(tmp_path / "rows.jsonl"), Data(), SEED)
    ids = [row["id"] for side in split.values() for row in side]
    assert len(ids) == len(set(ids)) == 25 and {"topic", "test-topic"} < set(ids)
    assert {row["text"].split()[0] for row in split["test"]} == {"stated"}
    assert balanced(split, metrics) and metrics["exact_duplicates"] == 3
    assert "23 rows have an id that another row has: renamed" in capfd.readouterr().err


def test_rows_of_a_group_are_on_one_side_and_keep_its_name(tmp_path):
    rows = [row | {"page": f"page {at // 4}"} for at, row in enumerate(texts("grouped", 80))]
    write(tmp_path / "rows.jsonl", [*rows, {"text": "one of the rare label", "label": "rare", "page": None}])
    split, metrics = from_dataset("classification", str(tmp_path / "rows.jsonl"), Data(group="page"), SEED)
    sides = {side: {row["group"] for row in found if "group" in row} for side, found in split.items()}
    assert [len(sides[side]) for side in ("train", "heldout", "test")] == [16, 2, 2], "each of four rows"
    assert not (sides["train"] & sides["test"] or sides["train"] & sides["heldout"] or sides["heldout"] & sides["test"])
    (alone,) = [row for row in split["train"] if row["label"] == "rare"]
    assert "group" not in alone and balanced(split, metrics)
    with pytest.raises(UserError, match=r"the column 'side', which no row has \(they have label, page, text\)"):
        from_dataset("classification", str(tmp_path / "rows.jsonl"), Data(group="side"), SEED)


@pytest.mark.parametrize("seed", range(20))
def test_groups_of_unequal_sizes_give_each_side_about_its_share(tmp_path, seed):
    """One group holds half of the rows, the others two to nine each: whichever comes first in the draw."""
    names = ["large"] * 100 + [f"group {at}" for at in range(18) for _ in range(2 + at % 8)]
    rows = [row | {"of": name} for name, row in zip(names, texts("unequal", len(names)), strict=True)]
    write(tmp_path / "rows.jsonl", rows)
    split, _ = from_dataset("classification", str(tmp_path / "rows.jsonl"), Data(group="of"), seed)
    for side in ("heldout", "test"):
        assert 0.07 * len(rows) <= len(split[side]) <= 0.13 * len(rows), side


def test_rows_without_a_group_are_a_group_each(tmp_path, capfd):
    """A JSONL row may lack the key, a Parquet column of numbers has NaN."""
    rows = [row | {"page": float(at // 4)} for at, row in enumerate(texts("grouped", 40))]
    lone = [row | page for row, page in zip(texts("alone", 80), [{}, {"page": float("nan")}] * 40, strict=True)]
    pq.write_table(pa.Table.from_pylist([*rows, *lone[1::2]]), tmp_path / "rows.parquet")
    write(tmp_path / "rows.jsonl", [*rows, *lone[::2]])
    for name in ("rows.parquet", "rows.jsonl"):
        split, _ = from_dataset("classification", str(tmp_path / name), Data(group="page"), SEED)
        assert sum("group" not in row for side in split.values() for row in side) == 40
        assert all(any("group" not in row for row in split[side]) for side in split), "drawn one by one"
    assert "40 of 80 rows have no value of 'page': each is a group by itself" in capfd.readouterr().err


def test_groups_that_cannot_be_divided_are_named(tmp_path):
    write(tmp_path / "rows.jsonl", [row | {"of": at % 3} for at, row in enumerate(texts("few", 90))])
    with pytest.raises(UserError, match=r"too few groups .* the column 'of' has 3 groups of 30 to 30 rows"):
        from_dataset("classification", str(tmp_path / "rows.jsonl"), Data(group="of"), SEED)
    for side in ("train", "test"):
        write(tmp_path / "own" / f"{side}.jsonl", [row | {"of": at % 3} for at, row in enumerate(texts(side, 90))])
    with pytest.raises(UserError, match=r"3 groups have rows on two .* \(the first: '0', on train and test\)"):
        from_dataset("classification", str(tmp_path / "own"), Data(group="of"), SEED)


@pytest.mark.parametrize("messages", [[], "talk", [{"role": "user", "content": "Is it?"}], [{"role": "assistant"}] * 2])
def test_a_conversation_without_an_answer_is_named_by_its_line(tmp_path, messages):
    """Rows may be written by hand, without `finetune-data`."""
    talk = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "yes"}]
    for side in ("train", "heldout", "test"):
        write(tmp_path / f"{side}.jsonl", [{"messages": talk}, {"messages": talk if side == "train" else messages}])
    with pytest.raises(UserError, match=r"heldout.jsonl:2: `messages` must be a list"):
        read_rows(tmp_path, "instruction")
