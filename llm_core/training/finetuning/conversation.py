"""Conversations as tokens: chat template, labels on the answers only, and no silent truncation.

The template is part of the tokenizer, so that every user of the model writes its prompts in the
same way. A model without one gets a plain-text template, and a padding token of its own where it has none or pads with
its end token: a model whose padding is its end token never learns to stop.
"""

from dataclasses import dataclass, field
from typing import Any

from llm_core.errors import UserError
from llm_core.models import prompts
from llm_core.models.family import Kind
from llm_core.models.loading import load_tokenizer as read_tokenizer
from llm_core.models.prompts import encode_rendered, encode_turns, render_chat
from llm_core.training.finetuning.rows import names

PAD = "<|pad|>"
IGNORED = -100  # label of a token that is left out of the loss
# Roles as words, for tokenizers that have no tokens for them; each turn ends with the end token.
PLAIN_TEMPLATE = (
    "{{ bos_token if bos_token else '' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}"
    "{{ message['role'].capitalize() + ': ' + message['content'] + '\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
Message = dict[str, str]


@dataclass
class Encoded:
    """Token ids and labels of rows, and the rows that did not fit."""

    rows: list[dict[str, list[int]]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)  # ids of rows over max_length
    trimmed: list[str] = field(default_factory=list)  # ids of rows whose prompt lost its beginning


def load_tokenizer(folder: str, chat: bool = True) -> Any:
    """The tokenizer of a model folder, with a padding token of its own and (`chat`) a template."""
    tokenizer = read_tokenizer(folder)
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token  # BERT's family ends with its separator
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.add_special_tokens({"pad_token": PAD})
    if chat and not tokenizer.chat_template:
        if tokenizer.eos_token is None:
            raise UserError(f"{folder}: its tokenizer has no end token, so a model cannot learn to stop")
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def prompt_ids(tokenizer: Any, messages: list[Message], kind: Kind = "decoder") -> list[int]:
    """Ids of a conversation up to where the answer begins; for an encoder-decoder, its text, line by line."""
    return encode_turns(tokenizer, messages, kind)


def encode_conversation(tokenizer: Any, messages: list[Message]) -> dict[str, list[int]]:
    """Ids and labels; a label is the id in the assistant's turns (their end token too), else -100.

    Prompt and answer are encoded apart, as they meet at inference: no token spans the border. Raises UserError
    where the template writes a turn differently later on, because answers could not be distinguished from questions.
    """
    text, position = _text(tokenizer, messages), 0
    ids: list[int] = []
    labels: list[int] = []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        start = _text(tokenizer, messages[:turn], add_generation_prompt=True)
        end = _text(tokenizer, messages[: turn + 1])
        if not (text.startswith(start) and text.startswith(end) and end.startswith(start)):
            raise UserError("the tokenizer's chat template writes a turn differently as the conversation grows")
        asked, answered = (
            encode_rendered(tokenizer, text[position : len(start)]),
            encode_rendered(tokenizer, text[len(start) : len(end)]),
        )
        ids += asked + answered
        labels += [IGNORED] * len(asked) + answered
        position = len(end)
    if tokenizer.eos_token_id in ids:  # a template may write a line break after the last turn's end token
        last = len(ids) - ids[::-1].index(tokenizer.eos_token_id)
        ids, labels = ids[:last], labels[:last]
    return {"input_ids": ids, "labels": labels}


def encode_rows(tokenizer: Any, rows: list[dict[str, Any]], max_length: int, too_long: str) -> Encoded:
    """Encode rows with `messages`; those over `max_length` are dropped, prompt-trimmed or refused by `too_long`."""
    encoded = Encoded()
    for name, row in zip(names(rows), rows, strict=True):
        sample = encode_conversation(tokenizer, row["messages"])
        excess = len(sample["input_ids"]) - max_length
        if excess > 0:
            answer = next((at for at, label in enumerate(sample["labels"]) if label != IGNORED), 0)
            if too_long == "refuse":
                raise UserError(
                    f"row {name}: {len(sample['input_ids'])} tokens, over max_length {max_length}; "
                    "raise the run's max_length or set too_long to drop or trim_prompt"
                )
            if too_long == "drop" or answer <= excess:
                encoded.dropped.append(name)
                continue
            encoded.trimmed.append(name)
            sample = {
                key: [values[0], *values[excess + 1 :]] for key, values in sample.items()
            }  # keeps the first token
        encoded.rows.append(sample)
    return encoded


def encode_text(tokenizer: Any, text: str, limit: int, ends: bool) -> tuple[list[int], bool]:
    """(ids of at most `limit` tokens, whether the text lost its end).

    A closing special token (BERT's separator) stays when the text is cut; with `ends` there is one
    end token, by which T5's head finds its place.
    """
    ids = prompts.encode_text(tokenizer, text, special=True)
    if ends and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
    cut = len(ids) > limit
    if cut:
        closing = ids[-1:] if ids[-1] in tokenizer.all_special_ids else []
        ids = ids[: limit - len(closing)] + closing
    return ids or [tokenizer.eos_token_id], cut


def encode_pair(tokenizer: Any, text: str, other: str, limit: int, ends: bool) -> tuple[list[int], int, bool]:
    """(ids of two texts of at most `limit` tokens, how many of them belong to the first, whether a text lost its end).

    The tokens before, between and after the texts are the tokenizer's: `[CLS] a [SEP] b [SEP]` of BERT. Where it
    puts none between, an end token separates the texts. The longer text is cut first. `ends`: as in `encode_text`.
    """
    before, between, behind = pair_frame(tokenizer)
    if ends and behind[-1:] != [tokenizer.eos_token_id]:
        behind = [*behind, tokenizer.eos_token_id]
    first, second = (prompts.encode_text(tokenizer, one) for one in (text, other))
    room = max(limit - len(before) - len(between) - len(behind), 2)
    if cut := len(first) + len(second) > room:  # the shorter one keeps half the room, or all of itself
        kept = min(len(first), len(second), room // 2)
        of_first = kept if len(first) <= len(second) else room - kept
        first, second = first[:of_first], second[: room - of_first]
    head = [*before, *first, *between]
    return [*head, *second, *behind], len(head), cut


def pair_frame(tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """The ids that the tokenizer puts before, between and behind two texts."""
    whole = list(tokenizer("a", "b")["input_ids"])
    first, second = (list(tokenizer(one, add_special_tokens=False)["input_ids"]) for one in ("a", "b"))
    places = range(len(whole))
    start = next((at for at in places if whole[at : at + len(first)] == first), 0)
    end = start + len(first)
    again = next((at for at in places[end:] if whole[at : at + len(second)] == second), end)
    separator = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    return whole[:start], whole[end:again] or [separator], whole[again + len(second) :]


def _text(tokenizer: Any, messages: list[Message], add_generation_prompt: bool = False) -> str:
    return render_chat(tokenizer, messages, add_generation_prompt) if messages else ""
