"""Two processes that share each sequence train what one process trains; what cannot be shared is refused."""

from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.models.family import Vocabulary, family
from llm_core.models.networks import build_config, build_network
from llm_core.params import Params
from llm_core.training.pretraining.sequence_parallel import FAMILIES, check
from tests.llm_core.training.pretraining import tiny
from tests.llm_core.training.pretraining.test_zero import losses

SHARED = "pretraining.steps=6,pretraining.sequence_parallel=2"


@pytest.mark.slow
def test_two_processes_that_share_sequences_train_what_one_trains(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    more = [
        "",
        ",pretraining.zero_stage=3,model.attention=sdpa",
        ",pretraining.zero_stage=0,model.sliding_window=8,model.heads=4,model.key_value_heads=1",
        ",pretraining.zero_stage=2,model.heads=4,model.key_value_heads=1,pretraining.activation_checkpointing=true",
        ",model.family=gpt2",
    ]
    alone = losses(folder, 1, [f"pretraining.steps=6{one}" for one in more])
    shared = losses(folder, 2, [f"{SHARED}{one}" for one in more])
    for one, other in zip(alone, shared, strict=True):
        assert shared[other] == pytest.approx(alone[one], rel=1e-5), other
    first, *_, last = alone[next(iter(alone))][:6]
    assert last < first


def refused(**settings: object) -> str:
    model = {"layers": 1, "width": 32, "heads": 2, "feed_forward": 64} | settings.pop("model", {})
    params = Params.model_validate(
        {"model": model, "pretraining": {"sequence_length": 32, "sequence_parallel": 2} | settings}
    )
    config = build_config(params.model, Vocabulary(64, 0, 1, 2), 32)
    with pytest.raises(UserError, match=r"pretraining.sequence_parallel") as found:
        check(params.pretraining, build_network(config, params.model.attention, 0), 2)
    return str(found.value)


def test_what_cannot_be_shared_is_refused_with_the_reason() -> None:
    assert "a bloom does not attend through the interface" in refused(model={"family": "bloom"})
    assert "document_mask needs a mask" in refused(document_mask=True)
    assert "2 heads cannot be divided among 4" not in refused(document_mask=True)
    assert "2 heads cannot be divided among 4 processes" in refused(sequence_parallel=4)
    assert "2 processes cannot form groups of 4" in refused(sequence_parallel=4)
    assert "sequences of [31] tokens" in refused(sequence_length=31)
    assert "a sliding window needs model.attention blocked" in refused(model={"sliding_window": 8, "attention": "sdpa"})
    dropped = refused(model={"sliding_window": 8, "dropout": 0.1, "attention": "blocked"})
    assert "with model.dropout a sliding window needs a mask" in dropped
    assert family("llama").model_types[0] in FAMILIES
