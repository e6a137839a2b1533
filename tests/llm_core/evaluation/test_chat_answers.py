"""Chat questions as files have them: what is refused with its line, and kinds that some rows lack."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.evaluation.chat_answers import answer_questions, read_questions, summarize_answers

TALK = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize(
    "messages",
    [TALK[1:], TALK[:1], [], [TALK[0], {"role": "assistant", "content": None}], [{"role": "user"}, TALK[1]], "text"],
)
def test_a_line_that_is_no_question_with_its_answer_is_named(messages: Any, tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text("".join(json.dumps({"messages": one}) + "\n" for one in (TALK, messages)))
    with pytest.raises(UserError, match=r"test\.jsonl:2: needs `messages`"):
        read_questions(file)


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text("\n")
    with pytest.raises(UserError, match=r"test\.jsonl: holds no questions"):
        answer_questions(None, None, file, None, 4, 1)


def test_kinds_may_be_missing_null_or_no_text() -> None:
    rows = [{"id": str(at), "exact_match": float(at % 2), "most_frequent": 0.0} for at in range(6)]
    kinds: list[Any] = ["closed", "closed", None, 3, 3]
    found = summarize_answers([row | {"kind": kind} for row, kind in zip(rows, kinds, strict=False)] + rows[5:])
    assert {kind: part["items"] for kind, part in found["kinds"].items()} == {"3": 2, "closed": 2}
    assert found["items"] == 6
