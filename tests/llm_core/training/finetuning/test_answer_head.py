"""Instruction tuning computes no more than it learns from: logits of answers alone, and rows that a step reads."""

from types import SimpleNamespace

import torch
import transformers
from trl.trainer import utils

from llm_core.training.finetuning.methods.instruction import readable
from llm_core.training.finetuning.training import score_answers_only


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
    monkeypatch.setattr(utils, "_use_triton", utils._use_triton)  # restored afterwards
    monkeypatch.setattr(utils, "_use_triton", lambda device: False)
    whole = run()
    score_answers_only()
    compact = run()
    score_answers_only()
    run()
    assert 0 < answers < 20 and seen == [3 * 11, answers, answers]
    for one, other in zip(whole, compact, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_that_no_step_reads_are_not_encoded(monkeypatch):
    def job(**knobs):
        params = {"max_steps": 3, "micro_batch": 2, "gradient_accumulation": 2, "packing": False} | knobs
        return SimpleNamespace(params=SimpleNamespace(**params), seed=1)

    rows = [{"id": str(number)} for number in range(40)]
    assert len(readable(job(), rows)) == 12 and readable(job(), rows) == readable(job(), rows)
    assert {
        len(readable(job(**knobs), rows)) for knobs in ({"max_steps": None}, {"packing": True}, {"max_steps": 99})
    } == {40}
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert len(readable(job(), rows)) == 24
