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
from llm_core.training.pretraining.attribution import Share, by_source, shares
from llm_core.training.pretraining.batches import Batches
from llm_core.training.pretraining.checkpoints import BESIDE, Checkpoints, copy_all
from llm_core.training.pretraining.compiling import Choice, compile_blocks
from llm_core.training.pretraining.engine import World, all_reduce, learning_rates
from llm_core.training.pretraining.feed import Feed
from llm_core.training.pretraining.gradient_norm import GradientNorm
from llm_core.training.pretraining.machine import Clock
from llm_core.training.pretraining.measure import Heldout, evaluating
from llm_core.training.pretraining.objectives import Corruption
from llm_core.training.pretraining.optimizers import SkippableAdamW
from llm_core.training.pretraining.phases import PhasedBatches, Plan
from llm_core.training.pretraining.profiling import ProfilerWindow
from llm_core.training.pretraining.reporting import Reports, smoothed
from llm_core.training.pretraining.samples import sample
from llm_core.training.pretraining.schedule import learning_rate_share, momentum, stable_steps
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
    feed: Feed
    heldout: Heldout | None
    checkpoints: Checkpoints
    reports: Reports
    tokenizer: Any
    world: World
    profiler: ProfilerWindow
    choice: Choice
    """Whether the blocks are compiled, where no checkpoint says how the run began."""
    ropes: list[dict[str, Any]] = field(default_factory=list)
    """Rotary parameters of each phase, where a phase changes them."""
    snapshot: Callable[[], None] | None = None
    """Keeps the model as it is now, where `snapshot_every` asks for it; all ranks call it."""
    trunk: Checkpoints | None = None
    """The checkpoint before the decay, for longer runs with the same beginning, where `extendable` asks for it."""
    guard: SpikeGuard = field(init=False)
    norm: GradientNorm = field(init=False)
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
        self.norm = GradientNorm(self.engine, self.optimizer, self.params.zero_stage)

    def run(self) -> None:
        """Train from the newest checkpoint, or from the start, to the last step."""
        if found := self.checkpoints.agreed(self.engine.device):
            self._restore(self.checkpoints, found)
            self.reports.say(f"resumed after step {self.step} of {self.steps}")
        elif self.trunk and (found := self.trunk.agreed(self.engine.device, self._branch)):
            if self.world.main:
                copy_all([*(found[0] / BESIDE).glob("*")], self.checkpoints.folder)
            self._restore(self.trunk, found)
            self.reports.say(f"goes on after step {self.step} of an earlier run that began alike, to step {self.steps}")
        self.compile()
        self.reports.log.resume(self.step)
        self.reports.begin(self.step)
        clock = Clock()
        self.engine.train()
        while self.step < self.steps and not self.stopped:
            if (phase := self.plan.begins(self.step)) and phase.name:
                self.reports.say(
                    f"phase {phase.name}: {phase.steps} steps of {phase.batch_tokens} tokens in sequences of "
                    f"{phase.sequence_length}"
                )
            self.profiler.before(self.step + 1)
            with clock:
                figures = self._train_step()
            self.step += 1
            self.profiler.after(self.step, self.steps)
            if self._logged(self.step):
                self.reports.record(self.step, figures, smoothed(self.guard.losses), clock)
            self.reports.show(self.step, figures, smoothed(self.guard.losses))
            self._between_steps(figures, clock)
        self.reports.end()

    def compile(self) -> None:
        """Compile the blocks, if this is such a run, and say why it is or not."""
        self.reports.say(self.choice.why)
        self.reports.tracked.tags({"compiled": self.choice.why})
        if self.choice.compiled:
            compile_blocks(self.engine.module.network, tolerant=self.params.compile == "auto")

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
        self.choice = self.choice.as_begun(state.get("compiled"))

    def _train_step(self) -> dict[str, float]:
        engine, step, world = self.engine, self.step, self.world
        _, phase = self.plan.of(step)
        if self.ropes:  # also in a resumed run, whose network was built with those of the first phase
            self._turn(self.ropes[self.plan.phases.index(phase)])
        share = learning_rate_share(step, self.steps, self.params.optimizer, self.plan.tokens_before)
        share *= phase.learning_rate
        learning_rates(engine, share, momentum(step, self.params.optimizer))
        made, first_row = self.feed(step), self.feed.first_row(step)
        losses: list[Any] = []
        count = sum(int((inputs.targets >= 0).sum()) for inputs in made)
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
                if self.optimizer.skip:  # ZeRO's stages move Muon's momentum before they call the optimizer
                    learning_rates(engine, share, momentum=1.0)
            # Not the module's own output tensor, because at stage 0 DeepSpeed (0.19.8) divides that by accumulation.
            engine.backward(loss * 1.0, scale_wrt_gas=False)
            if number == len(made) - 1:
                self.norm.before_step()
            engine.step()
        norm = self.norm.after_step()
        if not self.optimizer.skip and norm is not None and not math.isfinite(norm) and not self.engine.fp16_enabled():
            self._stop(f"the gradient's norm is {norm}")
        updated = norm is not None and math.isfinite(norm) and not self.optimizer.skip
        far = self.guard.unusual(norm if updated else None, self.optimizer.skip)
        logged = self._logged(step + 1) or self._may_end(step + 1)
        found: list[Share] = []
        if far or (logged and self.several_sources):
            ((_, ranges),) = self.batches.documents_of_steps(step, step + 1)
            found = shares(ranges, made, losses, first_row, phase.sequence_length, world, engine.device)
        if far:
            self.reports.spike(step + 1, far, found, median(self.guard.losses), self.optimizer.skip)
        elif self.optimizer.skip:
            self.reports.say(f"step {step + 1}: the loss {value:.4f} is a spike; its update is skipped")
        return {
            "loss": value,
            "learning_rate": (self.params.optimizer.learning_rate or 1.0) * share,
            "gradient_norm": math.nan if norm is None else norm,
            "targets": targets,
            **(by_source(found) if self.several_sources else {}),
        }

    def _turn(self, rope: dict[str, Any]) -> None:
        """Give the network the rotary positions of a phase, where it has others."""
        network = self.engine.module.network
        if rope_of(network.config) != rope:
            set_rope(network, rope)
            self.reports.say(f"rotary positions: {', '.join(f'{key} {value}' for key, value in rope.items())}")

    def say_kept(self) -> None:
        """Say from which step the next run goes on, if this one ends here."""
        kept = self.checkpoints.newest()
        where = (
            f"after step {kept[1]['step']}, kept in {kept[0]}" if kept else "from the start: no checkpoint was due yet"
        )
        self.reports.say(f"stopped after step {self.step} of {self.steps}; the same training goes on {where}")

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._stop(f"the loss is {loss}")

    def _stop(self, why: str) -> None:
        kept = self.checkpoints.newest()
        where = f"the last good checkpoint is {kept[0]}" if kept else "no checkpoint had been written"
        ((_, ranges),) = self.batches.documents_of_steps(self.step, self.step + 1)
        documents = ", ".join(sorted({item.id for item in ranges})[:5])
        raise UserError(
            f"pretraining stopped at step {self.step + 1}: {why}; {where}; documents of the step: {documents}, …; "
            "lower pretraining.optimizer.learning_rate or look at the data"
        )

    def _between_steps(self, figures: dict[str, float], clock: Clock) -> None:
        last = self.step == self.steps
        if self.heldout and self.step % self.params.evaluate_every == 0 and not last:
            found = self.measure(self.params.evaluate_tokens)
            self.reports.heldout(self.step, found)
            self._stop_early(found["heldout_bits_per_byte" if "heldout_bits_per_byte" in found else "heldout_loss"])
        if self.stopped and self.step % self.params.log_every:
            self.reports.record(self.step, figures, smoothed(self.guard.losses), clock)
        last = last or self.stopped
        if self.params.sample_every and self.step % self.params.sample_every == 0:
            self.samples()
        every = self.params.snapshot_every
        if self.snapshot and every and self.step % every == 0 and not last:
            self.snapshot()  # before the checkpoint, so that a resumed run has every snapshot before its step
        if self.trunk and self.step == self._branch and not last:
            snapshots = self.checkpoints.folder / SNAPSHOTS
            self.trunk.save(self.engine, self.step, self._state(), [self.reports.log.file, snapshots])
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
            self.reports.say(
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
            "compiled": self.choice.compiled,
        }

    def measure(self, tokens: int) -> dict[str, float]:
        """Held-out figures, by their names in metrics.json and MLflow."""
        return self.heldout.figures(self.engine, self.corruption, tokens) if self.heldout else {}

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
            self.reports.say(f"sample after step {self.step}: {' '.join(text.split())}")

    def tokens(self) -> int:
        """Tokens of the steps that are done, over all ranks, padding included."""
        return self.plan.tokens_before(self.step)

    @cached_property
    def several_sources(self) -> bool:
        """Whether the training tokens are of more than one source, so that each one's loss says more."""
        return len(self.batches.shards.sources()[0]) > 1
