"""A network of which each of two processes holds a part is the one that one process builds, and so are its files."""

import json
import subprocess
from pathlib import Path

import pytest
import transformers

from tests.llm_core.training.pretraining import tiny
from tests.llm_core.training.pretraining.parts import SHARD_BYTES
from tests.warm import start

FAMILIES = ("llama", "gpt2", "t5", "modernbert", "lstm")  # they draw their weights in five ways


@pytest.mark.slow
def test_networks_in_parts_have_the_weights_and_files_of_whole_ones(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    done = subprocess.run(
        [start.python(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
         "tests.llm_core.training.pretraining.parts", str(folder), *FAMILIES],
        env=tiny.environment(), capture_output=True, text=True, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    for name, facts in found.items():
        assert facts["different"] == [] and facts["buffers"] == [], name
        assert facts["held"] < 0.51, name  # padding apart, a half
        for size in (SHARD_BYTES, 1 << 40):
            one, other = folder / name / f"parts{size}", folder / name / f"whole{size}"
            files = sorted(file.name for file in other.iterdir())
            assert files == sorted(file.name for file in one.iterdir()), name
            for file in files:
                assert (one / file).read_bytes() == (other / file).read_bytes(), (name, file)
        assert len(list((folder / name / f"parts{SHARD_BYTES}").glob("*.safetensors"))) > 1, name
    again = transformers.AutoModelForCausalLM.from_pretrained(folder / "llama" / f"parts{SHARD_BYTES}")
    assert again.num_parameters() > 0 and again.config.model_type == "llama"
