"""Labels, padding and truncation of conversations, on ids that can be read."""

from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.training.finetuning.conversation import IGNORED, PLAIN_TEMPLATE, encode_conversation, encode_rows
from llm_core.training.finetuning.order import batches_of_like_length
from llm_core.training.finetuning.scoring import padded
from llm_core.training.finetuning.use import Chat
from tests.llm_core.training.finetuning import tiny

TALK = [{"role": "user", "content": "spam?"}, {"role": "assistant", "content": "ham"}]


def kept(tokenizer, encoded):
    return tokenizer.decode([label for label in encoded["labels"] if label != IGNORED])


def test_only_the_answers_and_their_end_tokens_have_labels():
    tokenizer = tiny.tokenizer()
    encoded = encode_conversation(tokenizer, [*TALK, *TALK])
    assert kept(tokenizer, encoded) == "ham<|end|>ham<|end|>"
    text = "<|begin|>" + "<|user|>spam?<|end|><|assistant|>ham<|end|>" * 2
    assert tokenizer.decode(encoded["input_ids"]) == text


def test_a_template_without_chat_tokens_ends_on_the_end_token():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = PLAIN_TEMPLATE
    encoded = encode_conversation(tokenizer, TALK)
    assert encoded["input_ids"][-1] == encoded["labels"][-1] == tokenizer.eos_token_id
    assert kept(tokenizer, encoded) == "ham<|end|>"


def test_batches_are_of_like_length_and_in_no_order_of_length():
    lengths = [7 * at % 100 for at in range(203)]  # each length twice, three of them once more
    rows = [{"number": at} for at in range(203)]
    ordered = batches_of_like_length(rows, lengths, batch=4, seed=1)
    assert sorted(row["number"] for row in ordered) == list(range(203))
    batches = [[lengths[row["number"]] for row in ordered[start : start + 4]] for start in range(0, 200, 4)]
    assert max(max(batch) - min(batch) for batch in batches) <= 4
    means = [sum(batch) for batch in batches]
    assert means not in (sorted(means), sorted(means, reverse=True))
    assert ordered == batches_of_like_length(rows, lengths, batch=4, seed=1)
    assert ordered != batches_of_like_length(rows, lengths, batch=4, seed=2)
    assert batches_of_like_length(rows[:3], lengths, batch=4, seed=1)[2:]  # fewer rows than a batch


def test_padding_has_no_label():
    ids, mask, labels = padded(
        [{"input_ids": [5, 6], "labels": [-100, 6]}, {"input_ids": [7], "labels": [7]}], 2, "cpu"
    )
    assert ids.tolist() == [[5, 6], [7, 2]]
    assert mask.tolist() == [[1, 1], [1, 0]]
    assert labels.tolist() == [[-100, 6], [7, -100]]


def test_what_is_too_long_is_dropped_trimmed_or_refused_but_never_loses_its_answer():
    tokenizer = tiny.tokenizer()
    long = [{"role": "user", "content": "0 " * 40}, {"role": "assistant", "content": "ham"}]
    rows = [{"id": "short", "messages": TALK}, {"id": "long", "messages": long}]
    dropped = encode_rows(tokenizer, rows, 30, "drop")
    assert (len(dropped.rows), dropped.dropped) == (1, ["long"])
    trimmed = encode_rows(tokenizer, rows, 30, "trim_prompt")
    assert trimmed.trimmed == ["long"]
    assert len(trimmed.rows[1]["input_ids"]) == 30
    assert trimmed.rows[1]["input_ids"][0] == tokenizer.bos_token_id
    assert kept(tokenizer, trimmed.rows[1]) == "ham<|end|>"
    with pytest.raises(UserError, match="row long"):
        encode_rows(tokenizer, rows, 30, "refuse")


def test_a_message_that_does_not_fit_leaves_the_conversation_as_it_is(tmp_path: Path) -> None:
    talk = Chat(tiny.model("llama", tmp_path), max_new_tokens=2)
    assert list(talk.say("Is it in Chad?"))
    before = list(talk.messages)
    with pytest.raises(UserError, match="exceeds the context of 2048"):
        list(talk.say("x" * 3000))
    assert talk.messages == before and len(before) == 2
    talk.messages.append({"role": "user", "content": "x" * 2035})
    assert len(talk._prompt()) <= 2046 and len(talk.messages) == 1, "the turns before do not fit beside it"
    with pytest.raises(UserError, match=r"bare: has no chat template, .* `llm-core generate` continues"):
        Chat(tiny.model("gpt2", tmp_path / "bare", chat=False))
