"""Every family trains, exports, and computes the same in plain transformers."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.llm_core.training.pretraining import tiny
from tests.warm import start

CASES = {
    "model.family=llama": "LlamaForCausalLM",
    "model.family=llama,model.key_value_heads=1,model.tie_embeddings=false,"
    "model.rope_scaling.rope_type=linear,model.rope_scaling.factor=2": "LlamaForCausalLM",
    "model.family=llama,model.sliding_window=16": "MistralForCausalLM",
    "model.family=gpt2": "GPT2LMHeadModel",
    "model.family=gptj": "GPTJForCausalLM",
    "model.family=bloom": "BloomForCausalLM",
    "model.family=opt": "OPTForCausalLM",
    "model.family=bert": "BertForMaskedLM",
    "model.family=t5": "T5ForConditionalGeneration",
    "model.family=lstm": "LSTMForCausalLM",
    "model.family=rnn": "RNNForCausalLM",
    "model.family=transformer": "MarianMTModel",
    "model.family=llama,pretraining.optimizer.name=muon": "LlamaForCausalLM",
    "model.family=qwen3,model.key_value_heads=1": "Qwen3ForCausalLM",
    "model.family=olmo2": "Olmo2ForCausalLM",
    "model.family=olmo3,model.layers=4,model.sliding_window=16": "Olmo3ForCausalLM",
    "model.family=gemma3,model.layers=6,model.sliding_window=16,model.logit_softcap=30": "Gemma3ForCausalLM",
    "model.family=smollm3,model.layers=4": "SmolLM3ForCausalLM",
    "model.family=phi3,model.sliding_window=16": "Phi3ForCausalLM",
    "model.family=phi": "PhiForCausalLM",
    "model.family=modernbert,model.layers=3,model.sliding_window=8": "ModernBertForMaskedLM",
    "model.family=roberta": "RobertaForMaskedLM",
    "model.family=speedrun,model.tie_embeddings=false,model.sliding_window=16,model.logit_softcap=15,"
    "pretraining.optimizer.name=muon": "SpeedrunForCausalLM",
}


@pytest.mark.slow
def test_every_family_learns_exports_and_reloads_with_equal_logits(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    done = subprocess.run(
        [start.python(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m",
         "tests.llm_core.training.pretraining.family_runs", str(folder), *CASES],
        env=tiny.environment(), capture_output=True, text=True, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for case, found in json.loads(done.stdout.strip().splitlines()[-1]).items():
        assert found["class"] == CASES[case]
        assert found["after"] < 0.9 * found["before"], case
        assert found["difference"] == 0, case
        assert found["our_loss"] == pytest.approx(found["their_loss"], rel=1e-4), case
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(found["files"])
