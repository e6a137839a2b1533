"""Questions whose answers, and often whose documents, are known.

Three kinds of files: SQuAD's JSON (its paragraphs are the corpus, too), JSONL with `question`,
`answers` and optionally `document_id` or `about`, and the rows of `finetune-data instruction`: the last question of
`messages`, whose answer is `answer` or else the last message. The Factbook's rows also have `country`, and those
with facts in the prompt (`kind` is not `closed`) are left out.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.answer_matching import holds
from llm_core.runtime import json_lines


@dataclass(frozen=True)
class Question:
    """A question; `relevant` decides which passages are relevant to it."""

    text: str
    answers: tuple[str, ...]
    document_id: str | None = None
    about: str | None = None

    def relevant(self, passage: dict[str, Any]) -> bool:
        """Whether a passage (a row of the index) answers it.

        It does if it is part of the known document. If no document is known, its title must name the subject of the
        question, and its text must contain an answer.
        """
        if self.document_id is not None:
            return bool(passage["document_id"] == self.document_id)
        if self.about is not None and self.about not in (passage["title"] or ""):
            return False
        return holds(passage["text"], *self.answers)


def read_questions(file: Path) -> list[Question]:
    """The questions of a file. Raises UserError, with file and line, where the file is none of the three kinds."""
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if file.suffix == ".json":
        return [
            Question(item["question"], tuple(answer["text"] for answer in item["answers"]), document_id)
            for document_id, _, paragraph in _paragraphs(file)
            for item in paragraph["qas"]
        ]
    found = []
    for number, row in json_lines.read_rows(file):
        try:
            if "messages" in row:
                if row.get("kind", "closed") == "closed":
                    question, said = (message["content"] for message in row["messages"][-2:])
                    found.append(Question(question, (row.get("answer", said),), None, row.get("country")))
            else:
                found.append(Question(row["question"], tuple(row["answers"]), row.get("document_id"), row.get("about")))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(f"{file}:{number}: a question with `question` and `answers` is needed ({error})") from None
    if not found:
        raise UserError(f"{file}: contains no question")
    return found


def squad_documents(file: Path) -> Iterator[dict[str, Any]]:
    """The paragraphs of a SQuAD file as documents (`id, source, text, metadata`)."""
    for document_id, title, paragraph in _paragraphs(file):
        metadata = json.dumps({"title": title})
        yield {"id": document_id, "source": file.stem, "text": paragraph["context"], "metadata": metadata}


def _paragraphs(file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    try:
        articles = json.loads(file.read_text("utf-8"))["data"]
        for article in articles:
            for number, paragraph in enumerate(article["paragraphs"]):
                yield f"{article['title']}#{number}", article["title"].replace("_", " "), paragraph
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not in SQuAD's format ({error!r})") from None
