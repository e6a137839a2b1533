"""TRL's head computes the logits of answers alone, with the loss and the gradient of all positions."""

import torch
import transformers
from trl.trainer import utils

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
