"""Questions with the passage that answers them, in SQuAD's layouts, as rows `question, context, answers`.

`answers` is a list of `text` and `start` (its first character in the context); an empty one means that the context does
not answer the question (SQuAD 2). An answer without a place is searched for in its context; a row whose answer is not
there is refused, and counted as a bad row.
"""

from typing import Any

from llm_core.training.finetuning.method import Row, text


def from_places(question: Any, context: Any, answers: Any, impossible: Any = False) -> Row:
    """A row whose answers have a place: {text: [...], answer_start: [...]}, or a list of objects with both.

    Raises ValueError where a text is missing, or is not in the context at its place.
    """
    whole = text(context, "context")
    if isinstance(answers, dict):
        starts, texts = answers.get("answer_start"), answers.get("text")
        if not isinstance(starts, list) or not isinstance(texts, list) or len(starts) != len(texts):
            raise ValueError("field 'answers' needs the lists 'text' and 'answer_start' of one length")
        answers = [{"text": one, "answer_start": start} for one, start in zip(texts, starts, strict=True)]
    if not isinstance(answers, list):
        raise ValueError("field 'answers' is missing or no list")
    found = []
    for answer in [] if impossible is True else answers:
        if not isinstance(answer, dict):
            raise ValueError("an answer is no object with 'text' and 'answer_start'")
        said, start = text(answer.get("text"), "text"), answer.get("answer_start", answer.get("start"))
        if isinstance(start, bool) or not isinstance(start, int):
            raise ValueError("field 'answer_start' is missing or no whole number")
        if start < 0 or whole[start : start + len(said)] != said:
            raise ValueError(f"the context does not have the answer '{said[:40]}' at character {start}")
        found.append(_trimmed(said, start))
    return {"question": text(question, "question"), "context": whole, "answers": found}


def from_search(question: Any, context: Any, answers: Any) -> Row:
    """A row whose answers, a text or a list of texts, are searched for: each gets its first place in the context.

    Raises ValueError where none of them is there. An empty text or list means that there is no answer.
    """
    whole = text(context, "context")
    texts = [answers] if isinstance(answers, str) else answers
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError("field 'answer' is missing, or neither a text nor a list of texts")
    wanted = [one.strip() for one in texts if one.strip()]
    lower = whole.lower()
    same = len(lower) == len(whole)  # lower case may have another length, in Turkish for example
    found = []
    for one in dict.fromkeys(wanted):
        start = whole.find(one)
        if start < 0 and same:
            start = lower.find(one.lower())
        if start >= 0:
            found.append({"text": whole[start : start + len(one)], "start": start})
    if wanted and not found:
        raise ValueError(f"the context does not contain the answer '{wanted[0][:40]}'")
    return {"question": text(question, "question"), "context": whole, "answers": found}


def _trimmed(said: str, start: int) -> Row:
    """An answer without blanks around it."""
    return {"text": said.strip(), "start": start + len(said) - len(said.lstrip())}
