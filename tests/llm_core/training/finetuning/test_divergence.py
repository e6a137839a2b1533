"""A training whose weights are no numbers any more ends with an error, and leaves neither a model nor a checkpoint."""

from pathlib import Path

import pytest
import torch

from llm_core.errors import UserError
from llm_core.training.finetuning.training import COMPLETE
from tests.llm_core.training.finetuning import tiny


@pytest.mark.slow
def test_a_diverged_training_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)
    with pytest.raises(UserError, match=r"finetune instruction: the training has diverged.*which is 1e\+30"):
        tiny.run("instruction", "llama", learning_rate=1e30, max_steps=4, adapter="full")
    assert not Path("out").exists()
    assert not list(tmp_path.rglob(f"checkpoint-*/{COMPLETE}"))
