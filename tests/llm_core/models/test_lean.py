"""The lean modules against transformers' own: values, gradients, and no change in evaluation."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llm_core.models.lean import lean


@pytest.fixture
def networks() -> tuple[LlamaForCausalLM, LlamaForCausalLM]:
    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=16,
        )
    )  # fmt: skip
    for name, parameter in theirs.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.5)
    ours = copy.deepcopy(theirs)
    lean(ours)
    return ours, theirs


def test_values_and_gradients_equal_transformers(networks: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    ids = torch.randint(0, 64, (3, 16))
    for network in networks:
        network.train()(input_ids=ids, labels=ids).loss.backward()
    for (name, ours), (_, theirs) in zip(*(network.named_parameters() for network in networks), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_under_autocast_norm_and_rotary_tables_hand_on_bf16(
    networks: tuple[LlamaForCausalLM, LlamaForCausalLM],
) -> None:
    ours, theirs = (network.train() for network in networks)
    hidden, places = torch.randn(1, 16, 32), torch.arange(16)[None]
    with torch.autocast("cpu", torch.bfloat16):
        normed, (cosine, _) = ours.model.norm(hidden), ours.model.rotary_emb(hidden, places)
        expected = theirs.model.norm(hidden)
    assert normed.dtype == cosine.dtype == torch.bfloat16
    torch.testing.assert_close(normed, expected.bfloat16(), rtol=0.01, atol=0)


def test_evaluation_is_bit_equal(networks: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    ids = torch.randint(0, 64, (3, 16))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (network.eval()(input_ids=ids).logits for network in networks)
    assert torch.equal(ours, theirs)
