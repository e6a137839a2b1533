"""Data sets in their formats become rows; bad ones are counted by place; splits are honest."""

import json

import pytest

from llm_core.errors import UserError
from llm_core.formats.row_files import read_file
from llm_core.params.finetuning import Data
from llm_core.training.finetuning.data.dataset import convert, from_dataset
from llm_core.training.finetuning.data.splits import stratified
from llm_core.training.finetuning.data.twins import jaccard, remove_twins, shingles

ANSWER = {"role": "assistant", "content": "four"}
TALK = [{"role": "user", "content": "two and two"}, ANSWER]


@pytest.mark.parametrize(
    "raw",
    [
        {"instruction": "two and two", "input": "", "output": "four"},
        {"instruction": "two and two", "context": "", "response": "four", "category": "qa"},
        {"inputs": "two and two", "targets": "four"},
        {"messages": TALK},
        {"conversations": [{"from": "human", "value": "two and two"}, {"from": "gpt", "value": "four"}]},
    ],
)
def test_every_instruction_format_gives_the_same_conversation(raw):
    assert convert("instruction", raw, Data()) == {"messages": TALK}


def test_hh_rlhf_dialogues_part_at_the_last_answer():
    raw = {
        "chosen": "\n\nHuman: two and two\n\nAssistant: four",
        "rejected": "\n\nHuman: two and two\n\nAssistant: five",
    }
    assert convert("dpo", raw, Data()) == {"prompt": TALK[:1], "chosen": "four", "rejected": "five"}
    lists = {"prompt": "two and two", "chosen": TALK, "rejected": [TALK[0], {**ANSWER, "content": "five"}]}
    assert convert("reward", lists, Data()) == {"prompt": "two and two", "chosen": "four", "rejected": "five"}


def test_bad_rows_are_named_by_file_and_line_and_counted(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = ({"text": f"message number {at} of its kind {at * 7}", "label": ("ham", "spam")[at % 2]} for at in range(20))
    good = list(map(json.dumps, rows))
    file.write_text("\n".join([*good[:3], "{broken", json.dumps({"text": "no label"}), *good[3:]]) + "\n")
    with pytest.raises(UserError, match=r"2 of 22 rows are bad .*rows.jsonl:4: not valid JSON"):
        from_dataset("classification", str(file), Data(), 1)
    tolerant = Data(maximum_bad_rows=0.1)
    split, metrics = from_dataset("classification", str(file), tolerant, 1)
    assert metrics["bad_rows"] == 2
    assert {side: len(rows) for side, rows in split.items()} == {"train": 16, "heldout": 2, "test": 2}


def test_tables_name_the_line_even_after_a_quoted_line_break(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('text,label\n"a\nb",ham\nonly\n')
    assert list(read_file(file)) == [
        (f"{file}:3", {"text": "a\nb", "label": "ham"}),
        (f"{file}:4", {"__error__": "1 fields where the header has 2"}),
    ]


def test_each_label_has_its_share_on_every_side():
    rows = [{"id": str(at), "label": "spam" if at % 10 == 0 else "ham"} for at in range(200)]
    split = stratified(rows, 0.1, 0.1, seed=1)
    spam = {side: sum(row["label"] == "spam" for row in members) for side, members in split.items()}
    assert spam == {"train": 16, "heldout": 2, "test": 2}
    assert sum(map(len, split.values())) == 200


def test_a_twin_of_a_training_row_leaves_the_test_side():
    text = "you have won a prize of one thousand pounds call this number now to claim it before friday noon"
    near = text + " please"
    assert jaccard(shingles(text), shingles(near)) == 17 / 18
    split = {
        "train": [text],
        "heldout": ["something else altogether that is long"],
        "test": [near, "a third message of its own"],
    }
    assert remove_twins(split, str, 0.8) == {"train": 0, "heldout": 0, "test": 1}
    assert split["test"] == ["a third message of its own"]
