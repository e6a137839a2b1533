"""Instruction tuning computes no more than it learns from: logits of answers alone, and rows that a step reads."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from trl.trainer import utils

from llm_core.training.finetuning.conversation import Encoded
from llm_core.training.finetuning.methods import instruction
from llm_core.training.finetuning.methods.instruction import encode_drawn
from llm_core.training.finetuning.scoring import sample_rows
from llm_core.training.finetuning.training import only_answers_scored


def test_the_head_sees_answers_alone_and_loss_and_gradient_stay_the_same(monkeypatch):
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    network = transformers.LlamaForCausalLM(config)
    utils.add_fused_lm_head(network, outputs=("log_probs", "entropy", "is_top1"))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 96, (3, 12), generator=generator)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) < 0.7, -100)
    answers = int((labels[:, 1:] != -100).sum())
    seen, head = [], utils._ChunkedLogProbFunction

    class Recorded:
        @staticmethod
        def apply(hidden, *rest):
            seen.append(len(hidden))
            return head.apply(hidden, *rest)

    def run():
        network.zero_grad()
        found = network(input_ids=ids, labels=labels, fused_lm_head=True)
        (-found.log_probs.sum() / found.label_mask.sum()).backward()
        return found.log_probs.detach(), network.model.embed_tokens.weight.grad.clone()

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Recorded)
    monkeypatch.setattr(utils, "_use_triton", lambda device: False)
    whole = run()
    with only_answers_scored():
        compact = run()
    run()
    assert 0 < answers < 20 and seen == [3 * 11, answers, 3 * 11], "other methods of the process keep their head"
    for one, other in zip(whole, compact, strict=True):
        torch.testing.assert_close(one, other)


def job(**knobs):
    params = {"max_steps": 3, "micro_batch": 2, "gradient_accumulation": 2, "packing": False} | knobs
    return SimpleNamespace(params=SimpleNamespace(**params), seed=1)


@pytest.fixture
def read(monkeypatch):
    """The names of the rows that were encoded, in their order; a row's only token is its number, `long` ones drop."""
    seen = []

    def encode(_, rows):
        seen.extend(row["id"] for row in rows)
        dropped = [row["id"] for row in rows if "long" in row]
        return Encoded([{"input_ids": [row["number"]]} for row in rows if "long" not in row], dropped)

    monkeypatch.setattr(instruction, "encode", encode)
    return seen


def test_rows_that_no_step_reads_are_not_encoded(monkeypatch, read):
    rows = [{"number": number} for number in range(40)]
    encoded, kept = encode_drawn(job(), rows)
    drawn = [row["number"] for row in sample_rows(rows, 12, seed=1)]
    assert [row["input_ids"] for row in encoded.rows] == [[number] for number in drawn]
    assert read == kept == [str(number + 1) for number in drawn], "without ids, names are places in the whole file"
    for knobs in ({"max_steps": None}, {"packing": True}, {"max_steps": 99}):
        assert len(encode_drawn(job(**knobs), rows)[1]) == 40
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert len(encode_drawn(job(), rows)[1]) == 24


def test_another_row_is_drawn_for_one_that_is_dropped(read):
    """Otherwise the steps would read some rows twice, although others that fit are left."""
    rows = [{"number": number, **({"long": True} if number % 2 else {})} for number in range(40)]
    encoded, kept = encode_drawn(job(), rows)
    assert len(kept) == len(encoded.rows) == 12 and kept == sorted(set(kept), key=int)
    assert [row["input_ids"] for row in encoded.rows] == [[int(name) - 1] for name in kept]
    assert 0 < len(encoded.dropped) == len(read) - 12
    assert encode_drawn(job(), rows) == (encoded, kept), "the seed decides"
    encoded, kept = encode_drawn(job(max_steps=9), rows)
    assert (len(kept), len(encoded.dropped)) == (20, 20), "all rows that fit, where they are fewer than wanted"
