"""The training loop, the same in every process.

A step is a pure function of (weights, optimizer state, step number): the batch, the learning
rate and the random draws of dropout and masking all follow from the step, so a resumed run
gives the same bits as an uninterrupted one. The loss of a step is the mean over all its target
tokens, over micro-batches and ranks: each micro-batch's *sum* is scaled by the world size
over the global count, because DeepSpeed averages gradients over ranks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.models.configs import SNAPSHOTS
from llm_core.models.rotary import rope_of, set_rope
from llm_core.params.pretraining import Pretraining
from llm_core.runtime import progress
from llm_core.tracking import runs
from llm_core.training.pretraining.attribution import Share, by_source, raising, shares
from llm_core.training.pretraining.batches import Batches
from llm_core.training.pretraining.checkpoints import BESIDE, Checkpoints, copy_all
from llm_core.training.pretraining.engine import World, all_reduce, learning_rates
from llm_core.training.pretraining.machine import Clock, memory
from llm_core.training.pretraining.measure import Heldout, evaluating
from llm_core.training.pretraining.objectives import Corruption, Inputs
from llm_core.training.pretraining.optimizers import SkippableAdamW
from llm_core.training.pretraining.phases import PhasedBatches, Plan
from llm_core.training.pretraining.profiling import ProfilerWindow
from llm_core.training.pretraining.run_log import SPIKE, RunLog
from llm_core.training.pretraining.samples import sample
from llm_core.training.pretraining.schedule import learning_rate_share, momentum, stable_steps
from llm_core.training.pretraining.sequence_parallel import stretch
from llm_core.training.pretraining.stability import SpikeGuard, no_better


@dataclass
class Training:
    """Everything that a run needs; `assemble.py` builds it, `run()` trains."""

    params: Pretraining
    seed: int
    plan: Plan
    engine: Any
    optimizer: SkippableAdamW
    batches: Batches | PhasedBatches
    corruption: Corruption
    heldout: Heldout | None
    checkpoints: Checkpoints
    log: RunLog
    tokenizer: Any
    world: World
    tracked: runs.Run
    flops_per_token: Callable[[int], float]
    """Floating-point operations for a token in a sequence of so many."""
    peak: float
    """Floating-point operations a second that one process's matrix products reach."""
    profiler: ProfilerWindow
    ropes: list[dict[str, Any]] = field(default_factory=list)
    """Rotary parameters of each phase, where a phase changes them."""
    snapshot: Callable[[], None] | None = None
    """Keeps the model as it is now, where `snapshot_every` asks for it; all ranks call it."""
    trunk: Checkpoints | None = None
    """The checkpoint before the decay, for longer runs with the same beginning, where `extendable` asks for it."""
    guard: SpikeGuard = field(init=False)
    step: int = 0
    heldout_figures: list[float] = field(default_factory=list)
    """The measurements so far, for `early_stopping`."""
    stopped: bool = False
    """Whether training has ended before its last step."""

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps

    def __post_init__(self) -> None:
        self.guard = SpikeGuard(self.params.spike_sigma, [])

    def run(self) -> None:
        """Train from the newest checkpoint, or from the start, to the last step."""
        if found := self.checkpoints.agreed(self.engine.device):
            self._restore(self.checkpoints, found)
            self._say(f"resumed after step {self.step} of {self.steps}")
        elif self.trunk and (found := self.trunk.agreed(self.engine.device, self._branch)):
            if self.world.main:
                copy_all([*(found[0] / BESIDE).glob("*")], self.checkpoints.folder)
            self._restore(self.trunk, found)
            self._say(f"goes on after step {self.step} of an earlier run that began alike, to step {self.steps}")
        self.log.resume(self.step)
        done = self.plan.tokens_before(self.step)
        show = progress.task("pretrain", total=self.plan.tokens, unit="tokens", done=done) if self.world.main else None
        clock = Clock()
        self.engine.train()
        while self.step < self.steps and not self.stopped:
            if (phase := self.plan.begins(self.step)) and phase.name:
                self._say(
                    f"phase {phase.name}: {phase.steps} steps of {phase.batch_tokens} tokens in sequences of "
                    f"{phase.sequence_length}"
                )
            self.profiler.before(self.step + 1)
            with clock:
                figures = self._train_step()
            self.step += 1
            self.profiler.after(self.step, self.steps)
            if self._logged(self.step):
                self._record(figures, clock)
            if show:
                rate = f"{figures['learning_rate']:.3g}"
                norm = f"{figures['gradient_norm']:.3g}"
                show.update(
                    self.tokens() - done, loss=round(figures["loss"], 4), learning_rate=rate, gradient_norm=norm
                )
                done = self.tokens()
            self._between_steps(figures, clock)
        if show:
            show.close()

    @cached_property
    def _branch(self) -> int:
        """Number of steps that a longer run with the same beginning has, too."""
        return stable_steps(self.steps, self.params.optimizer, self.plan.tokens_before)

    def _restore(self, checkpoints: Checkpoints, found: tuple[Path, dict[str, Any]]) -> None:
        state = found[1]
        self.batches.check_state(state["loader"])
        checkpoints.load(
            self.engine, found, self.world.size, self.params.zero_stage, self.params.optimizer.name != "adamw"
        )
        self.step = state["step"]
        self.guard.restore(state["spike_guard"])
        self.heldout_figures = state.get("heldout", [])

    def _train_step(self) -> dict[str, float]:
        engine, step, world = self.engine, self.step, self.world
        _, phase = self.plan.of(step)
        if self.ropes:  # also in a resumed run, whose network was built with those of the first phase
            self._turn(self.ropes[self.plan.phases.index(phase)])
        share = learning_rate_share(step, self.steps, self.params.optimizer, self.plan.tokens_before)
        share *= phase.learning_rate
        learning_rates(engine, share, momentum(step, self.params.optimizer))
        micro, count = phase.micro_batch, 0
        first_row = world.data_rank * micro * phase.accumulation
        made: list[Inputs] = []
        losses: list[Any] = []
        for number, batch in enumerate(self.batches.micro_batches(step, micro, world.data_rank, world.data_size)):
            inputs = self.corruption(batch, step, first_row + number * micro)
            inputs = stretch(inputs, world.sequence, world.sequence_rank)
            count += int((inputs.targets >= 0).sum())
            made.append(inputs)
        targets = float(all_reduce(torch.tensor(count, dtype=torch.float64, device="cpu"), engine.device))
        total = torch.zeros((), dtype=torch.float64, device="cpu")
        for number, inputs in enumerate(made):
            torch.manual_seed(hash((self.seed, step, world.rank, number)) & 0x7FFFFFFF)
            tensors = [None if array is None else torch.from_numpy(array).to(engine.device) for array in inputs]
            engine.set_gradient_accumulation_boundary(number == len(made) - 1)  # phases differ in their passes
            loss, nll, each = engine(*tensors, scale=world.data_size / targets)
            losses.append(each)
            total += nll.double().cpu()
            if number == len(made) - 1:
                value = float(all_reduce(total, engine.device)) / targets
                self._check(value)
                self.optimizer.skip = self.guard.is_spike(value)
            # Not the module's own output tensor, because at stage 0 DeepSpeed (0.19.8) divides that by accumulation.
            engine.backward(loss * 1.0, scale_wrt_gas=False)
            engine.step()
        norm = self.optimizer.gradient_norm if self.params.zero_stage == 0 else engine.get_global_grad_norm()
        # With Muon, ZeRO's stages orthogonalise gradients before they take the norm, which is then nearly constant.
        says = self.params.zero_stage == 0 or self.params.optimizer.name == "adamw"
        if not self.optimizer.skip and norm is not None and not math.isfinite(norm) and not self.engine.fp16_enabled():
            self._stop(f"the gradient's norm is {norm}")
        updated = norm is not None and math.isfinite(norm) and not self.optimizer.skip
        far = self.guard.unusual(float(norm or 0.0) if updated and says else None, self.optimizer.skip)
        logged = self._logged(step + 1) or self._may_end(step + 1)
        found: list[Share] = []
        if far or (logged and self.several_sources):
            ((_, ranges),) = self.batches.documents_of_steps(step, step + 1)
            found = shares(ranges, made, losses, first_row, phase.sequence_length, world, engine.device)
        if far:
            self._record_spike(far, found)
        elif self.optimizer.skip:
            self._say(f"step {step + 1}: the loss {value:.4f} is a spike; its update is skipped")
        return {
            "loss": value,
            "learning_rate": self.params.optimizer.learning_rate * share
            if self.params.optimizer.learning_rate
            else share,
            "gradient_norm": float(norm or 0.0),
            "targets": targets,
            **(by_source(found) if self.several_sources else {}),
        }

    def _turn(self, rope: dict[str, Any]) -> None:
        """Give the network the rotary positions of a phase, where it has others."""
        network = self.engine.module.network
        if rope_of(network.config) != rope:
            set_rope(network, rope)
            self._say(f"rotary positions: {', '.join(f'{key} {value}' for key, value in rope.items())}")

    def _record_spike(self, far: dict[str, tuple[float, float]], found: list[Share]) -> None:
        """Write a row for each figure of the step that is far above the last steps, with the documents behind it."""
        usual = median(self.guard.losses)
        documents = raising(found, usual)
        skipped = self.optimizer.skip
        for name, (value, middle) in far.items():
            row = {"step": self.step + 1, SPIKE: name, "value": _digits(value), "median": _digits(middle)}
            self.log.write(row | {"skipped": skipped, "documents": documents})
        said = ", ".join(
            f"{name.replace('_', ' ')} {value:.4f} (usually {middle:.4f})" for name, (value, middle) in far.items()
        )
        named = "; ".join(f"{one['id']} ({one['source']}, loss {one['loss']:.4f})" for one in documents)
        self._say(
            f"step {self.step + 1} is unusual: {said}{'; its update is skipped' if skipped else ''}"
            f"{f'; documents that raise its loss most: {named}' if named else ''}"
        )
        self.tracked.metrics({"spike": 1.0}, self.step + 1)

    def say_kept(self) -> None:
        """Say from which step the next run goes on, if this one ends here."""
        kept = self.checkpoints.newest()
        where = (
            f"after step {kept[1]['step']}, kept in {kept[0]}" if kept else "from the start: no checkpoint was due yet"
        )
        self._say(f"stopped after step {self.step} of {self.steps}; the same training goes on {where}")

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._stop(f"the loss is {loss}")

    def _stop(self, why: str) -> None:
        kept = self.checkpoints.newest()
        where = f"the last good checkpoint is {kept[0]}" if kept else "no checkpoint had been written"
        sources = ", ".join(
            sorted(
                {item.id for _, found in self.batches.documents_of_steps(self.step, self.step + 1) for item in found}
            )[:5]
        )
        raise UserError(
            f"pretraining stopped at step {self.step + 1}: {why}; {where}; documents of the step: {sources}, …; "
            "lower pretraining.optimizer.learning_rate or look at the data"
        )

    def _record(self, figures: dict[str, float], clock: Clock) -> None:
        row: dict[str, Any] = {"step": self.step, "tokens": self.tokens(), **figures}
        del row["targets"]
        self.log.write({key: _digits(value) for key, value in row.items()})
        steps, seconds, core_seconds = clock.lap()
        tokens = self.tokens() - self.plan.tokens_before(self.step - steps)
        speed, operations = tokens / seconds, self.flops_per_token(self.plan.of(self.step - 1)[1].sequence_length)
        spent = {
            "tokens_per_second": speed,
            "flops_utilization": speed * operations / self.peak / self.world.size,
            "memory_bytes": memory(),
        }
        if self.engine.device.type == "cpu":
            core_speed = tokens / self.world.size / core_seconds
            spent["tokens_per_core_second"] = core_speed
            spent["core_flops_utilization"] = core_speed * operations / self.peak * torch.get_num_threads()
        done = {"tokens": float(self.tokens()), "flops": self.flops()}
        self.tracked.metrics({**figures, **spent, **done}, self.step)
        if self.step == self.steps or self.step % self.params.evaluate_every == 0:
            self._say(f"step {self.step}: " + ", ".join(f"{key} {value:,.3g}" for key, value in (spent | done).items()))

    def _between_steps(self, figures: dict[str, float], clock: Clock) -> None:
        last = self.step == self.steps
        if self.heldout and self.step % self.params.evaluate_every == 0 and not last:
            found = self.measure(self.params.evaluate_tokens)
            self.say_heldout(found)
            self._stop_early(found["heldout_bits_per_byte" if "heldout_bits_per_byte" in found else "heldout_loss"])
        if self.stopped and self.step % self.params.log_every:
            self._record(figures, clock)
        last = last or self.stopped
        if self.params.sample_every and self.step % self.params.sample_every == 0:
            self.samples()
        every = self.params.snapshot_every
        if self.snapshot and every and self.step % every == 0 and not last:
            self.snapshot()  # before the checkpoint, so that a resumed run has every snapshot before its step
        if self.trunk and self.step == self._branch and not last:
            snapshots = self.checkpoints.folder / SNAPSHOTS
            self.trunk.save(self.engine, self.step, self._state(), [self.log.file, snapshots])
        if self.step % self.params.checkpoint_every == 0 and not last:
            self.save()

    def _logged(self, step: int) -> bool:
        """Whether the figures after so many steps are logged in any case."""
        return step % self.params.log_every == 0 or step == self.steps

    def _may_end(self, step: int) -> bool:
        """Whether the measurement after so many steps may end training early, so that the step is logged."""
        can = bool(self.params.early_stopping and self.heldout) and step < self.steps
        return can and step % self.params.evaluate_every == 0

    def _stop_early(self, figure: float) -> None:
        """Note a measurement, and end training where the last ones are no better than one before them."""
        self.heldout_figures.append(figure)
        if no_better(self.heldout_figures, self.params.early_stopping):
            self.stopped = True
            self._say(
                f"training ends early, after step {self.step} of {self.steps}: the last {self.params.early_stopping} "
                f"measurements on held-out text were no better than {min(self.heldout_figures):.4f}"
            )

    def save(self) -> None:
        """Write a checkpoint."""
        self.checkpoints.save(self.engine, self.step, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "world_size": self.world.size,
            "zero_stage": self.params.zero_stage,
            "loader": self.batches.state_dict(),
            "spike_guard": self.guard.state(),
            "heldout": self.heldout_figures,
        }

    def measure(self, tokens: int) -> dict[str, float]:
        """Held-out figures, by their names in metrics.json and MLflow."""
        if self.heldout is None:
            return {}
        if self.corruption.objective == "causal":
            found = self.heldout.bits_per_byte(self.engine, tokens)
            return {
                "heldout_bits_per_byte" + ("" if key == "all" else f"/{key}"): value for key, value in found.items()
            }
        return {"heldout_loss": self.heldout.loss(self.engine, self.corruption, tokens)}

    def samples(self) -> None:
        """Log samples of the model's text."""
        if self.corruption.objective != "causal":
            return
        with evaluating(self.engine):
            texts = sample(
                self.engine.module.network, self.tokenizer, self.params.sample_prompts,
                new_tokens=self.params.sample_tokens, seed=self.seed,
            )  # fmt: skip
        for text in texts:
            self._say(f"sample after step {self.step}: {' '.join(text.split())}")

    def say_heldout(self, found: dict[str, float], last: bool = False) -> None:
        """Log held-out figures to the training log, MLflow and the terminal.

        The `last` ones are of `evaluate_tokens_final` tokens. Where the others are of fewer, they are no point of
        the same curve, so that in MLflow they have names of their own.
        """
        apart = last and self.params.evaluate_tokens_final != self.params.evaluate_tokens
        self.tracked.metrics({f"final/{name}" if apart else name: value for name, value in found.items()}, self.step)
        self.log.write({"step": self.step} | {name: _digits(value) for name, value in found.items()})
        self._say(f"step {self.step}: " + ", ".join(f"{key} {value:.4f}" for key, value in found.items()))

    def tokens(self) -> int:
        """Tokens of the steps that are done, over all ranks, padding included."""
        return self.plan.tokens_before(self.step)

    def flops(self) -> float:
        """Floating-point operations of the model in the steps that are done."""
        counts = self.plan.steps_of_phases(self.step)
        return sum(
            count * phase.batch_tokens * self.flops_per_token(phase.sequence_length)
            for phase, count in zip(self.plan.phases, counts, strict=True)
        )

    @cached_property
    def several_sources(self) -> bool:
        """Whether the training tokens are of more than one source, so that each one's loss says more."""
        return len(self.batches.shards.sources()[0]) > 1

    def _say(self, text: str) -> None:
        if self.world.main:
            progress.log(text)


def _digits(value: float) -> float:
    """A float rounded to the digits that are needed to compare runs, so that JSON's rounding makes no difference."""
    return value if isinstance(value, int) else float(f"{value:.9g}")
