"""Further keys reach DeepSpeed's config, which checks them."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.params.pretraining import Pretraining
from llm_core.training.pretraining.engine import deepspeed_config
from tests.llm_core.training.pretraining import tiny

ZERO_PLUS_PLUS = {"zero_quantized_weights": True, "zero_hpz_partition_size": 2}


def config(further: dict[str, Any], **knobs: Any) -> dict[str, Any]:
    return deepspeed_config(Pretraining(zero_stage=3, deepspeed=further, **knobs), "fp32", 2)


def test_further_keys_are_added_to_those_of_the_project() -> None:
    plain = config({})
    found = config({"zero_optimization": ZERO_PLUS_PLUS | {"overlap_comm": True}, "communication_data_type": "fp16"})
    assert found["zero_optimization"] == plain["zero_optimization"] | ZERO_PLUS_PLUS | {"overlap_comm": True}
    assert found["communication_data_type"] == "fp16"
    offload = {"device": "nvme", "nvme_path": "/fast", "pin_memory": True}
    assert config({"zero_optimization": {"offload_param": offload}})["zero_optimization"]["offload_param"] == offload


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"zero_optimisation": {}}, r"zero_optimisation: DeepSpeed has no such key \(there are .*zero_optimization"),
        ({"zero_optimization": {"zero_quantised": 1}}, r"zero_optimization.zero_quantised: .*zero_quantized_weights"),
        ({"zero_optimization": {"offload_param": {"devise": "nvme"}}}, r"offload_param.devise: .*nvme_path"),
        ({"zero_optimization": {"reduce_bucket_size": "many"}}, "reduce_bucket_size: Input should be a valid integer"),
        ({"activation_checkpointing": {"profil": True}}, r"activation_checkpointing.profil: .*cpu_checkpointing"),
        ({"zero_optimization": {"stage": 2}}, "zero_optimization.stage: set pretraining.zero_stage instead"),
        ({"gradient_clipping": 2.0}, "gradient_clipping: set pretraining.optimizer.clip instead"),
        ({"optimizer": {"type": "Adam"}}, "optimizer: set pretraining.optimizer instead"),
        ({"bf16": {"enabled": True}}, "bf16: set pretraining.precision instead"),
        ({"train_batch_size": 8}, "train_batch_size: set pretraining.batch_tokens instead"),
        ({"zero_force_ds_cpu_optimizer": True}, "is decided by this project"),
    ],
)
def test_wrong_keys_and_keys_of_the_project_are_refused_by_name(further: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(further)


def test_what_a_knob_has_set_is_not_set_twice() -> None:
    twice = {"zero_optimization": {"offload_optimizer": {"device": "nvme"}}}
    with pytest.raises(UserError, match=r"offload_optimizer.device: set pretraining.offload instead"):
        config(twice, offload="optimizer")
    more = {"zero_optimization": {"offload_optimizer": {"pin_memory": True}}}
    assert config(more, offload="optimizer")["zero_optimization"]["offload_optimizer"] == {
        "device": "cpu", "pin_memory": True,
    }  # fmt: skip


@pytest.mark.slow
def test_a_training_reads_them(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    further = {"zero_optimization": {"reduce_bucket_size": 1000}, "wall_clock_breakdown": False}
    done = tiny.run(folder, pretraining__steps=2, pretraining__zero_stage=2, pretraining__deepspeed=further)
    assert done.returncode == 0, done.stderr
    wrong: subprocess.CompletedProcess[str] = tiny.run(folder, "wrong", pretraining__deepspeed={"zero": 1})
    assert wrong.returncode == 1 and "pretraining.deepspeed.zero: DeepSpeed has no such key" in wrong.stderr
    assert "Traceback" not in wrong.stderr
