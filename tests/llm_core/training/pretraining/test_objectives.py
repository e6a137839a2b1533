"""Masked tokens and corrupted spans: the arrays, by properties that determine them."""

import math
from pathlib import Path

import numpy as np
import pytest

from llm_core.training.pretraining.batches import Batch
from llm_core.training.pretraining.objectives import Corruption
from llm_core.training.pretraining.run_log import RunLog
from llm_core.training.pretraining.stability import LEAST, RECORDED, SpikeGuard


def rows(used: int = 40, length: int = 48) -> Batch:
    ids = np.zeros((3, length), np.int64)
    ids[:, :used] = np.arange(100, 100 + used)
    segments = (np.arange(length) < used).astype(np.int64)[None].repeat(3, 0)
    return Batch(ids, ids.copy(), segments.cumsum(1), segments)


def corruption(objective: str, **changes: object) -> Corruption:
    settings: dict = {"seed": 1, "share": 0.15, "span": 3.0, "pad": 0, "words": 1000, "marks": tuple(range(1000, 1100))}
    return Corruption(objective, **(settings | changes))  # type: ignore[arg-type]


def test_masking_predicts_the_share_of_used_tokens() -> None:
    batch = rows()
    made = corruption("masked")(batch, step=3, first_row=0)
    chosen = made.targets >= 0
    assert chosen.sum(1).tolist() == [6, 6, 6]  # 15 % of 40
    assert not chosen[:, 40:].any()
    assert (made.targets[chosen] == batch.input_ids[chosen]).all()
    assert (made.input_ids[~chosen] == batch.input_ids[~chosen]).all()


def test_spans_and_sentinels_put_together_give_the_text_again() -> None:
    batch = rows()
    made = corruption("span")(batch, step=0, first_row=0)
    for row in range(3):
        kept = made.input_ids[row][made.segment_ids[row] > 0].tolist()
        target = made.targets[row][made.targets[row] >= 0].tolist()
        spans, mark = {}, -1
        for token in target:
            if token >= 1000:
                mark, spans[token] = token, []
            else:
                spans[mark].append(token)
        assert sum(map(len, spans.values())) == 6 and len(spans) == 3  # two spans of three, and the last sentinel
        whole = [part for token in kept for part in (spans[token] if token >= 1000 else [token])]
        assert whole == list(range(100, 140))
        assert made.decoder_ids[row, 0] == 0
        assert made.decoder_ids[row, 1 : len(target)].tolist() == target[:-1]


@pytest.mark.parametrize("objective", ["masked", "span"])
def test_draws_depend_on_step_and_row_alone(objective: str) -> None:
    whole = corruption(objective)(rows(), 5, 0)
    last = corruption(objective)(Batch(*(part[2:] for part in rows())), 5, 2)
    assert (whole.input_ids[2:] == last.input_ids).all() and (whole.targets[2:] == last.targets).all()
    assert (corruption(objective)(rows(), 6, 0).input_ids != whole.input_ids).any()


def test_spikes_by_the_sigma_rule() -> None:
    guard = SpikeGuard(6.0, [])
    usual = [2.0 + 0.1 * (-1) ** step for step in range(LEAST)]  # mean 2, deviation 0.1
    assert not any(guard.is_spike(loss) for loss in usual)
    assert not guard.is_spike(2.55)
    assert guard.is_spike(3.5)
    assert sum(guard.is_spike(3.5) for _ in range(100)) < 8, "a level that lasts is no spike"
    assert not SpikeGuard(0.0, usual).is_spike(1e9)


def test_steps_far_above_the_running_median_are_recorded() -> None:
    """Of 2.0 to 2.3 by turns the median deviation is 0.1; with a 3.3 the median is 2.2, and far is from 3.386."""
    guard = SpikeGuard(0.0, [])
    for step in range(24):
        guard.is_spike(2.0 + 0.1 * (step % 4))
        assert guard.unusual(1.0, False) == {}
    guard.is_spike(3.3)
    assert guard.unusual(1.07, False) == {}
    guard.is_spike(3.4)
    assert guard.unusual(1.09, False) == {"loss": (3.4, 2.2), "gradient_norm": (1.09, 1.0)}
    guard.is_spike(9.0)
    assert guard.unusual(None, True) == {"loss": (9.0, 2.2)}, "a skipped step has no gradient norm"
    again = SpikeGuard(0.0, [])
    again.restore(guard.state())
    assert again == guard and guard.recorded == 2 and len(guard.norms) == 26
    for step in range(200):
        again.is_spike(20.0 + 0.1 * (step % 4))
        again.unusual(1.0, False)
    assert again.recorded < 2 + 16, "a level that lasts, such as another phase's, becomes the usual one"
    again.is_spike(29.0)
    assert again.unusual(1.0, False)["loss"][0] == 29.0
    guard.recorded = RECORDED
    guard.is_spike(99.0)
    assert guard.unusual(99.0, False) == {}, "a run has so many records"


def test_a_figure_that_is_no_number_is_null_in_the_log(tmp_path: Path) -> None:
    """As in metrics.json: other readers than Python's refuse `Infinity`, the gradient norm of many a skipped step."""
    log = RunLog(tmp_path / "log.jsonl", True)
    log.write({"step": 1, "loss": 2.5, "gradient_norm": math.inf, "documents": [{"loss": math.nan}]})
    assert log.file.read_text() == '{"step": 1, "loss": 2.5, "gradient_norm": null, "documents": [{"loss": null}]}\n'
    log.resume(1)
    assert [row["gradient_norm"] for row in log.rows()] == [None]
