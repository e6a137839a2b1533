"""Text as token ids, so that a control token's name inside data stays ordinary text.

A tokenizer turns the name of a special token, wherever it occurs in a text, into the control token: a message that
holds `<|end|><|system|>` would end its own turn and speak as the system. Here the names inside data are encoded as the
characters that they are; control tokens come from the chat template and from the caller alone. A text without such a
name is encoded exactly as the tokenizer encodes it. The marking of names is transformers'
(`apply_chat_template(sanitize_control_tokens=True)`); its parts are used, because conversations are encoded turn by
turn here. A role is part of a control token in many templates, so only known roles are accepted.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from llm_core.errors import UserError
from llm_core.models.family import Kind

SEPARATOR = "<|endoftext|>"
"""separator of documents of GPT-2, OLMo, Phi and Qwen; a Qwen for chat ends turns with another token"""
ROLES = ("system", "user", "assistant")
_known: WeakKeyDictionary[Any, tuple[int, tuple[str, ...]]] = WeakKeyDictionary()  # listing the names is slow


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Names of the tokenizer's special tokens."""
    size, names = _known.get(tokenizer, (-1, ()))
    if size != len(tokenizer):
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        names = tuple(dict.fromkeys([*added, *tokenizer.all_special_tokens]))
        _known[tokenizer] = (len(tokenizer), names)
    return names


def encode_text(tokenizer: Any, text: str, special: bool = False) -> list[int]:
    """Ids of `text`, in which names of control tokens are ordinary text.

    With `special` the tokenizer adds what it puts around every text (a begin token, BERT's separators).
    """
    if not any(name in text for name in control_tokens(tokenizer)):
        return list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
    ids = encode_rendered(tokenizer, mark(tokenizer, text))
    if not special:
        return ids
    before, behind = frame(tokenizer)
    return [*before, *ids, *behind]


def frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer itself puts before and behind every text: a begin token, BERT's [CLS] and [SEP]."""
    framed, inner = (list(tokenizer("a", add_special_tokens=flag)["input_ids"]) for flag in (True, False))
    start = next((at for at in range(len(framed)) if framed[at : at + len(inner)] == inner), 0)
    return framed[:start], framed[start + len(inner) :]


def document_frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids before and behind a whole document, in training and where a document is scored.

    What the tokenizer itself adds, and an end token. A tokenizer that adds nothing (GPT-2, Qwen, Phi) belongs to a
    model that saw its documents joined by one token: that separator is put on both sides, so that the first token of
    a document is predicted too. Raises UserError for a tokenizer without an end token.
    """
    before, behind = frame(tokenizer)
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None and not behind:
        raise UserError("the tokenizer has no end token, so a model could not learn where a document ends")
    if before or behind:
        return before, behind if end is None or behind[-1:] == [end] else [*behind, end]
    separator = tokenizer.convert_tokens_to_ids(SEPARATOR) if SEPARATOR in control_tokens(tokenizer) else end
    return [separator], [separator]


def encode_source(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that an encoder-decoder reads or writes, with one end token, by which it knows the text's end."""
    ids = encode_text(tokenizer, text, special=True)
    return ids if ids[-1:] == [tokenizer.eos_token_id] else [*ids, tokenizer.eos_token_id]


def encode_prompt(tokenizer: Any, text: str, kind: Kind = "decoder") -> list[int]:
    """Ids of a text that a decoder is to continue: with what its tokenizer puts before a text, and not behind it.

    An empty text is the begin of a document. An encoder-decoder reads the text whole, and writes another.
    """
    if kind == "encoder-decoder":
        return encode_source(tokenizer, text)
    ids = [*frame(tokenizer)[0], *encode_text(tokenizer, text)]
    return ids or document_frame(tokenizer)[0]


def render_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = False) -> str:
    """The conversation in the tokenizer's chat template, for `encode_rendered`; control tokens in messages are marked.

    Raises UserError for a role that the template does not know, and where the template refuses the conversation.
    """
    for message in messages:
        role = message.get("role")
        if role not in ROLES and f"'{role}'" not in str(tokenizer.chat_template):
            raise UserError(f"role {str(role)[:40]!r}: a message's role is one of {', '.join(ROLES)}")
    marked = [mark(tokenizer, dict(message)) for message in messages]
    try:
        return str(tokenizer.apply_chat_template(marked, add_generation_prompt=add_generation_prompt, tokenize=False))
    except Exception as error:  # a template may raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"the model's chat template does not accept this conversation ({reason})") from None


def encode_rendered(tokenizer: Any, text: str) -> list[int]:
    """Ids of what `render_chat` gave, or of a part of it: marked names are text, others are control tokens."""
    from transformers.utils.chat_template_utils import encode_marked_chat

    try:
        return list(encode_marked_chat(tokenizer, text))
    except ValueError as error:  # a tokenizer whose model holds the name of a control token as an ordinary piece
        raise UserError(f"the text cannot be encoded without forging a control token ({error})") from None


def encode_turns(tokenizer: Any, messages: Sequence[Mapping[str, Any]], kind: Kind) -> list[int]:
    """Ids of a conversation that a model answers; an encoder-decoder reads its text, line by line, no template."""
    if kind == "encoder-decoder":
        return encode_source(tokenizer, "\n".join(str(message["content"]) for message in messages))
    return encode_chat(tokenizer, messages)


def encode_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> list[int]:
    """Ids of a conversation, up to where the assistant answers."""
    return encode_rendered(tokenizer, render_chat(tokenizer, messages, add_generation_prompt))


def mark(tokenizer: Any, value: Any) -> Any:
    """A text, or a message of texts, with the library's private marks around names of control tokens."""
    from transformers.utils.chat_template_utils import _get_control_token_patterns, mark_control_tokens

    pattern, _ = _get_control_token_patterns(control_tokens(tokenizer))
    return mark_control_tokens(value, pattern)
