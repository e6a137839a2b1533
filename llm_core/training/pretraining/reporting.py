"""What a training says while it runs: rows of its log, metrics in MLflow, lines in the terminal.

The log is an output of the stage, so it has nothing that depends on the clock; speed and memory are in MLflow and in
the terminal. A loss of one step is noisy: beside it MLflow, `llm-core watch` and Dagster get the mean of the last
steps, which a resumed run continues, because the checkpoint has these losses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch

from llm_core.formats.names import FINAL
from llm_core.params.pretraining import Pretraining
from llm_core.runtime import progress
from llm_core.tracking import runs
from llm_core.training.pretraining.attribution import LOSS_OF, Share, raising
from llm_core.training.pretraining.engine import World
from llm_core.training.pretraining.machine import Clock, memory
from llm_core.training.pretraining.phases import Plan
from llm_core.training.pretraining.run_log import SPIKE, RunLog

SMOOTHED = 32  # steps in the mean that is shown beside a step's own loss


def smoothed(losses: Sequence[float]) -> float:
    """The mean loss of the last steps."""
    return fmean(losses[-SMOOTHED:])


@dataclass
class Reports:
    """Where a training's figures go. Every process has one; only the main one writes."""

    settings: Pretraining
    plan: Plan
    world: World
    log: RunLog
    tracked: runs.Run
    flops_per_token: Callable[[int], float]
    """Floating-point operations for a token in a sequence of so many."""
    peak: float
    """Floating-point operations a second that one process's matrix products reach."""
    _operations: dict[int, float] = field(default_factory=dict)
    _task: progress.Task | None = None

    def begin(self, step: int) -> None:
        """Show the bar, from `step` on."""
        if self.world.main:
            done = self.plan.tokens_before(step)
            self._task = progress.task("pretrain", total=self.plan.tokens, unit="tokens", done=done)

    def end(self) -> None:
        """Close the bar."""
        if self._task:
            self._task.close()

    def show(self, step: int, figures: dict[str, float], mean: float) -> None:
        """Show the figures of a step, after which `step` are done, beside the bar; `mean` is the smoothed loss."""
        if not self._task:
            return
        rate, norm = f"{figures['learning_rate']:.3g}", f"{figures['gradient_norm']:.3g}"
        loss = {"loss": round(figures["loss"], 4), "smoothed_loss": round(mean, 4)}
        self._task.note(
            flops=f"{self.flops(step):.3g}",
            **{key: round(value, 4) for key, value in figures.items() if key.startswith(LOSS_OF)},
        )
        tokens = self.plan.tokens_before(step) - self._task.done
        self._task.update(tokens, **loss, learning_rate=rate, gradient_norm=norm)

    def record(self, step: int, figures: dict[str, float], mean: float, clock: Clock) -> None:
        """Log the figures of the last of `step` steps, and what the steps since the last record took."""
        tokens = self.plan.tokens_before(step)
        row: dict[str, Any] = {"step": step, "tokens": tokens, **figures}
        del row["targets"]
        self.log.write({key: _digits(value) for key, value in row.items()})
        steps, seconds, core_seconds = clock.lap()
        read = tokens - self.plan.tokens_before(step - steps)
        speed, operations = read / seconds, self._operations_of(self.plan.of(step - 1)[1].sequence_length)
        spent = {
            "tokens_per_second": speed,
            "flops_utilization": speed * operations / self.peak / self.world.size,
            "memory_bytes": memory(),
        }
        if not torch.cuda.is_available():
            core_speed = read / self.world.size / core_seconds
            spent["tokens_per_core_second"] = core_speed
            spent["core_flops_utilization"] = core_speed * operations / self.peak * torch.get_num_threads()
        done = {"tokens": float(tokens), "flops": self.flops(step)}
        self.tracked.metrics({**figures, "smoothed_loss": mean, **spent, **done}, step)
        if step == self.plan.steps or step % self.settings.evaluate_every == 0:
            sources = {key: value for key, value in figures.items() if key.startswith(LOSS_OF)}
            shown = {"smoothed_loss": mean, **sources, **spent, **done}
            self.say(f"step {step}: " + ", ".join(f"{key} {value:,.3g}" for key, value in shown.items()))

    def spike(
        self, step: int, far: dict[str, tuple[float, float]], found: list[Share], usual: float, skipped: bool
    ) -> None:
        """Write a row for each figure of step number `step` that is far above the last steps, with the documents
        behind it; `usual` is the median loss."""
        documents = raising(found, usual)
        for name, (value, middle) in far.items():
            row = {"step": step, SPIKE: name, "value": _digits(value), "median": _digits(middle)}
            self.log.write(row | {"skipped": skipped, "documents": documents})
        said = ", ".join(
            f"{name.replace('_', ' ')} {value:.4f} (usually {middle:.4f})" for name, (value, middle) in far.items()
        )
        named = "; ".join(f"{one['id']} ({one['source']}, loss {one['loss']:.4f})" for one in documents)
        self.say(
            f"step {step} is unusual: {said}{'; its update is skipped' if skipped else ''}"
            f"{f'; documents that raise its loss most: {named}' if named else ''}"
        )
        self.tracked.metrics({"spike": 1.0}, step)

    def heldout(self, step: int, found: dict[str, float], last: bool = False) -> None:
        """Log held-out figures.

        The `last` ones are of `evaluate_tokens_final` tokens. Where the others are of fewer, they are no point of
        the same curve, so that in MLflow and in training_log.jsonl they have names of their own, `trained/…`.
        """
        apart = last and self.settings.evaluate_tokens_final != self.settings.evaluate_tokens
        named = {f"{FINAL if apart else ''}{name}": value for name, value in found.items()}
        self.tracked.metrics(named, step)
        self.log.write({"step": step} | {name: _digits(value) for name, value in named.items()})
        self.say(f"step {step}: " + ", ".join(f"{key} {value:.4f}" for key, value in found.items()))

    def flops(self, step: int) -> float:
        """Floating-point operations of the model in the first `step` steps."""
        counts = self.plan.steps_of_phases(step)
        return sum(
            count * phase.batch_tokens * self._operations_of(phase.sequence_length)
            for phase, count in zip(self.plan.phases, counts, strict=True)
        )

    def say(self, text: str) -> None:
        """One line for a person."""
        if self.world.main:
            progress.log(text)

    def _operations_of(self, length: int) -> float:
        if length not in self._operations:
            self._operations[length] = self.flops_per_token(length)
        return self._operations[length]


def _digits(value: float) -> float:
    """A float rounded to the digits that are needed to compare runs, so that JSON's rounding makes no difference."""
    return value if isinstance(value, int) else float(f"{value:.9g}")
