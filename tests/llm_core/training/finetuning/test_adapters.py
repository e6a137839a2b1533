"""Low-rank adapters: the layers that params name are there."""

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from llm_core.errors import UserError
from llm_core.params.finetuning import Lora, Training
from llm_core.training.finetuning.models import add_adapter


@pytest.mark.parametrize("names", [["zz"], ["c_attn", "zz"]])
def test_a_layer_that_the_model_does_not_have_is_refused(names):
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=16, n_positions=8))
    with pytest.raises(UserError, match=r"lora.target_modules: no such name: zz \(there are .*c_attn.*\)"):
        add_adapter(model, Training(lora=Lora(target_modules=names)), "CAUSAL_LM")
    add_adapter(model, Training(lora=Lora(target_modules=["c_attn"])), "CAUSAL_LM")
