"""Operations of a model by hand, and the figures of the log."""

from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.models import networks
from llm_core.models.family import Vocabulary
from llm_core.params.model import Model
from llm_core.training.pretraining import machine
from llm_core.training.pretraining.figures import _embedding_parameters
from llm_core.training.pretraining.profiling import ProfilerWindow

VOCABULARY = Vocabulary(128, 0, 1, 2)


@pytest.mark.parametrize("tied", [True, False])
def test_operations_of_a_llama_by_hand(tied: bool) -> None:
    model = Model(family="llama", layers=2, width=32, heads=2, feed_forward=64, tie_embeddings=tied)
    network = networks.build_network(networks.build_config(model, VOCABULARY, 16), "sdpa", seed=0)
    block = 4 * 32 * 32 + 3 * 32 * 64 + 2 * 32  # query, key, value, output; gate, up, down; two norms
    weights = 2 * block + 32 + 128 * 32  # last norm; the head, which an untied embedding does not add to
    assert machine.flops_per_token(network, 16) == 6 * weights + 6 * 2 * 32 * 16


@pytest.mark.parametrize("family", ["llama", "speedrun"])
def test_what_tables_and_head_leave_of_a_rung_is_what_its_blocks_hold(family: str, tmp_path: Path) -> None:
    model = Model(family=family, layers=2, width=32, heads=2, feed_forward=64, tie_embeddings=False)
    network = networks.build_network(networks.build_config(model, VOCABULARY, 16), "sdpa", seed=0)
    network.save_pretrained(tmp_path)
    large = [weight.numel() for weight in network.parameters() if 128 in weight.shape]
    assert _embedding_parameters(tmp_path) == sum(large) > 0, "one side of embeddings and heads is the vocabulary"


def test_position_tables_multiply_nothing() -> None:
    model = Model(family="gpt2", layers=1, width=32, heads=2, feed_forward=64)
    short, long = (
        networks.build_network(networks.build_config(model, VOCABULARY, length), "sdpa", seed=0) for length in (16, 512)
    )
    assert machine.flops_per_token(short, 16) == machine.flops_per_token(long, 16)


def test_the_peak_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "SECONDS", 0.01)
    first = machine.matmul_peak("fp32", "cpu")
    assert first > 1e8
    assert machine.matmul_peak("fp32", "cpu") == first  # to the last digit: read, not measured again


def test_the_clock_reads_and_forgets() -> None:
    clock = machine.Clock()
    with clock:
        sum(range(10_000))
    steps, seconds, core_seconds = clock.lap()
    assert steps == 1 and core_seconds > 0 and seconds > 0
    assert clock.lap()[0] == 0


def test_a_window_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pretraining\.profile_steps \[4, 3\]"):
        ProfilerWindow((4, 3), tmp_path, 0)


def test_a_window_writes_a_trace_and_a_table(tmp_path: Path) -> None:
    import torch

    window = ProfilerWindow((2, 3), tmp_path, 0)
    for step in range(1, 5):
        window.before(step)
        torch.ones(4, 4) @ torch.ones(4, 4)
        assert (tmp_path / "rank0.json").exists() == (step == 4)
        window.after(step, 4)
    assert "aten::mm" in (tmp_path / "rank0.txt").read_text()
