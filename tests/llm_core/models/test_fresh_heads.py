"""A checkpoint may lack the head that is trained on it, and nothing else."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from llm_core.errors import UserError
from llm_core.training.finetuning.heads import CLASSIFICATION, GENERATION
from llm_core.training.finetuning.models import load
from tests.llm_core.training.finetuning import tiny


@pytest.mark.parametrize(("family", "kind"), [("llama", "decoder"), ("bert", "encoder"), ("gpt2", "decoder")])
def test_weights_that_a_checkpoint_lacks_are_refused_unless_they_are_of_the_new_head(
    family: str, kind: str, tmp_path: Path
) -> None:
    folder = tiny.model(family, tmp_path / "base")
    whole = load(folder, CLASSIFICATION, kind, ["no", "yes"])
    assert whole.config.num_labels == 2 and whole.config.id2label == {0: "no", 1: "yes"}
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(weights) if "layernorm" in name.lower() or "ln_" in name)
    save_file({name: weight for name, weight in weights.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"its checkpoint lacks weights of a \w+ \(.*\)$"):
        load(folder, CLASSIFICATION, kind, ["no", "yes"])
    if kind == "decoder":
        with pytest.raises(UserError, match="its checkpoint lacks weights"):
            load(folder, GENERATION, kind)
