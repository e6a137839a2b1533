"""The usual layouts of conversations and preferences, as rows of this project; errors name the field.

Conversations become `messages` (role, content); preferences become `prompt, chosen, rejected`, where the prompt is a
text or the messages before the answers. Light to import: method modules use it.
"""

import re
from typing import Any

from llm_core.params.finetuning import Data
from llm_core.training.finetuning.method import Layout, Messages, Row, first, text

ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
TURN = re.compile(r"\n\n(Human|Assistant): ?")
QUESTIONS: dict[str, tuple[str, str, str | None]] = {  # layout -> fields of question, answer and context
    "alpaca": ("instruction", "output", "input"),
    "dolly": ("instruction", "response", "context"),
    "pairs": ("inputs", "targets", None),
    "completion": ("prompt", "completion", None),
    "question": ("question", "answer", "context"),
}


def conversation(row: Row, answer: str) -> Messages:
    """The messages of a row's prompt (a text, or messages) with an answer to it."""
    prompt = row["prompt"]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return [*turns, {"role": "assistant", "content": answer}]


def asked(row: Row) -> Messages:
    """The messages of a row's prompt."""
    return conversation(row, "")[:-1]


def prompt_text(row: Row) -> str:
    """A row's prompt as one text, by which near-duplicates are found."""
    return "\n".join(message["content"] for message in asked(row))


def question_text(row: Row) -> str:
    """The prompt in a row's `messages`, as one text."""
    return "\n".join(message["content"] for message in row["messages"][:-1])


def _messages(value: Any, name: str, role: str, content: str) -> Messages:
    """A list of turns as messages, roles in one spelling."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"field '{name}' is missing, empty or no list of turns")
    turns = []
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, dict) or role not in turn or content not in turn:
            raise ValueError(f"turn {number} of '{name}' lacks '{role}' or '{content}'")
        if (said := turn[role]) not in ROLES:
            raise ValueError(f"unknown role '{said}' in turn {number} of '{name}' (known: {', '.join(ROLES)})")
        turns.append({"role": ROLES[said], "content": text(turn[content], content)})
    return turns


def _answered(turns: Messages) -> Row:
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise ValueError("the last turn is not an assistant's answer to anything")
    return {"messages": turns}


def _turns(name: str, role: str, content: str) -> Layout:
    return Layout(
        f"{name}: a list of {role}, {content}",
        lambda raw, data: isinstance(raw.get(name), list),
        lambda raw, data: _answered(_messages(raw.get(name), name, role, content)),
    )


def _question(question: str, answer: str, context: str | None) -> Layout:
    def convert(raw: Row, data: Data) -> Row:
        extra = raw.get(context) if context else None
        question_asked = text(raw.get(question), question)
        if extra:
            question_asked += f"\n\n{text(extra, str(context))}"
        said = text(raw.get(answer), answer)
        return {"messages": [{"role": "user", "content": question_asked}, {"role": "assistant", "content": said}]}

    names = [question, *([context] if context else []), answer]
    return Layout(", ".join(names), lambda raw, data: question in raw and answer in raw, convert)


def _dialogue(value: Any, name: str) -> Messages:
    """HH-RLHF's text as messages."""
    before, *parts = TURN.split(text(value, name))
    if before.strip():
        raise ValueError(f"'{name}' has text before its first 'Human:' or 'Assistant:'")
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [
        {"role": roles[role], "content": said.strip()} for role, said in zip(parts[0::2], parts[1::2], strict=True)
    ]
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise ValueError(f"the dialogue in '{name}' does not end with 'Assistant:'")
    text(turns[-1]["content"], f"last answer of {name}")
    return turns


def _is_hh(raw: Row, data: Data) -> bool:
    chosen = raw.get("chosen")
    return isinstance(chosen, str) and "\n\nHuman:" in chosen and raw.get("prompt", raw.get("instruction")) is None


def _hh_rlhf(raw: Row, data: Data) -> Row:
    one, other = (_dialogue(raw.get(name), name) for name in ("chosen", "rejected"))
    if one[:-1] != other[:-1]:
        raise ValueError("chosen and rejected differ before the last answer, so they do not answer the same prompt")
    return _differ({"prompt": one[:-1], "chosen": one[-1]["content"], "rejected": other[-1]["content"]})


def _preference(raw: Row, data: Data) -> Row:
    chosen, rejected, prompt = raw.get("chosen"), raw.get("rejected"), raw.get("prompt", raw.get("instruction"))
    asked = prompt if prompt is None or isinstance(prompt, str) else _messages(prompt, "prompt", "role", "content")
    if isinstance(chosen, list) != isinstance(rejected, list):
        raise ValueError("one of chosen and rejected is a list of turns, the other is not")
    if isinstance(chosen, list):
        one, other = (_messages(raw[name], name, "role", "content") for name in ("chosen", "rejected"))
        for name, turns in (("chosen", one), ("rejected", other)):
            if turns[-1]["role"] != "assistant":
                raise ValueError(f"the last turn of '{name}' is not an assistant's answer")
        if one[:-1] != other[:-1]:
            raise ValueError("chosen and rejected differ before the last answer, so they do not answer the same prompt")
        asked = _agreed(asked, one[:-1])
        chosen, rejected = one[-1]["content"], other[-1]["content"]
    if not isinstance(asked, list):
        asked = text(asked, "prompt")
        if raw.get("input"):
            asked = f"{asked}\n\n{text(raw['input'], 'input')}"
    return _differ({"prompt": asked, "chosen": text(chosen, "chosen"), "rejected": text(rejected, "rejected")})


def _agreed(prompt: str | Messages | None, before: Messages) -> str | Messages:
    """The one prompt of a row that states it in `prompt`, in the turns before its answers, or in both."""
    if not before:
        if prompt is None:
            raise ValueError("there is no prompt: no field 'prompt', and no turn before the answers")
        return prompt
    if prompt is None:
        return before
    if isinstance(prompt, list):
        if prompt != before:
            raise ValueError("'prompt' is not what the turns before the answers say")
        return prompt
    users = [turn["content"] for turn in before if turn["role"] == "user"]
    if prompt not in users:
        raise ValueError("'prompt' is not what the turns before the answers say")
    return prompt if len(before) == 1 else before


def _differ(row: Row) -> Row:
    if row["chosen"].strip() == row["rejected"].strip():
        raise ValueError("chosen and rejected are the same")
    return row


def source_and_target(source: tuple[str, ...], target: tuple[str, ...]) -> Layout:
    """Rows of a source and a target under their usual names."""

    def matches(raw: Row, data: Data) -> bool:
        return all(any(key in raw for key in usual) for usual in (source, target))

    def convert(raw: Row, data: Data) -> Row:
        found = {"source": first(raw, source), "target": first(raw, target)}
        return {name: text(value, name) for name, value in found.items()}

    return Layout("source, target", matches, convert)


CONVERSATIONS: dict[str, Layout] = {
    "messages": _turns("messages", "role", "content"),
    "sharegpt": _turns("conversations", "from", "value"),
    **{name: _question(*fields) for name, fields in QUESTIONS.items()},
}
PREFERENCES: dict[str, Layout] = {
    "hh-rlhf": Layout("chosen, rejected: whole dialogues of Human: and Assistant:", _is_hh, _hh_rlhf),
    "preference": Layout(
        "prompt, chosen, rejected", lambda raw, data: "chosen" in raw and "rejected" in raw, _preference
    ),
}
