"""The phases of a pretraining: which steps each has, and the loader that follows them.

Sequences can grow (short ones learn faster for each CPU second, the last phase teaches the long context), batches can
grow, and a late phase can read better data (annealing). A run without `pretraining.phases` is one phase. The loader of
phases has one `Batches` for each, so the documents of every step stay computed and exact across phases. Phases without
a mixture of their own share the run's data: each begins at the place of the epoch that the one before reached. Where
their sequence lengths differ, so do packing and order, and a document may be read in both before another is read once.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.models.family import family_of
from llm_core.models.rotary import rope_of, rope_parameters
from llm_core.params.pretraining import Mixture, Pretraining
from llm_core.training.pretraining.batches import Batch, Batches, DocumentRange


@dataclass(frozen=True)
class PlannedPhase:
    """A phase whose open values are known."""

    name: str
    """Empty for a run without phases."""
    steps: int
    sequence_length: int
    batch_tokens: int
    micro_batch: int
    """Sequences in one forward pass of a process."""
    accumulation: int
    """Forward passes of a process in one step."""
    learning_rate: float = 1.0
    mixture: Mixture | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all steps, padding included."""
        return self.steps * self.batch_tokens


@dataclass(frozen=True)
class Plan:
    """All phases of a run, in order."""

    phases: tuple[PlannedPhase, ...]

    @property
    def steps(self) -> int:
        """Optimizer steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def tokens(self) -> int:
        """Tokens of all phases, padding included."""
        return sum(phase.tokens for phase in self.phases)

    def of(self, step: int) -> tuple[int, PlannedPhase]:
        """Step within its phase, and the phase, of `step` (0 … steps - 1)."""
        number = 0
        while step >= self.phases[number].steps:
            step -= self.phases[number].steps
            number += 1
        return step, self.phases[number]

    def begins(self, step: int) -> PlannedPhase | None:
        """The phase whose first step is `step`; None inside a phase."""
        local, phase = self.of(step)
        return None if local else phase

    def tokens_before(self, step: int) -> int:
        """Tokens of the first `step` steps, padding included."""
        if step >= self.steps:
            return self.tokens
        done = 0
        for phase in self.phases:
            if step < phase.steps:
                return done + step * phase.batch_tokens
            done += phase.tokens
            step -= phase.steps
        return done

    def tokens_of_phases(self, step: int) -> dict[str, int]:
        """Tokens of each phase with a name in the first `step` steps, padding included."""
        steps = self.steps_of_phases(step)
        return {
            phase.name: count * phase.batch_tokens
            for phase, count in zip(self.phases, steps, strict=True)
            if phase.name
        }

    def steps_of_phases(self, step: int) -> list[int]:
        """How many of the first `step` steps are of each phase."""
        found = []
        for phase in self.phases:
            found.append(min(max(step, 0), phase.steps))
            step -= phase.steps
        return found


def plan_phases(settings: Pretraining, batch_tokens: int, steps: int, processes: int) -> Plan:
    """The plan of a run; `batch_tokens` is that of phases without one, `steps` that of the run where phases share it.

    Raises UserError for a batch that is no whole number of sequences for each process, and for a phase that is shorter
    than one step.
    """
    if not settings.phases:
        length = settings.sequence_length
        return Plan(
            (PlannedPhase("", steps, length, batch_tokens, *_passes(settings, length, batch_tokens, processes)),)
        )
    planned = []
    shared = _shared(settings, steps)
    for number, phase in enumerate(settings.phases):
        length, batch = phase.sequence_length or settings.sequence_length, phase.batch_tokens or batch_tokens
        passes = _passes(settings, length, batch, processes, phase.name)
        count = phase.steps or (shared[number] if phase.share else round((phase.tokens or 0) / batch))
        if not count:
            raise UserError(
                f"pretraining.phases: {phase.name} has {phase.tokens:,} tokens and a step takes {batch:,}; give it "
                "more tokens or a smaller batch_tokens"
            )
        planned.append(PlannedPhase(phase.name, count, length, batch, *passes, phase.learning_rate, phase.mixture))
    return Plan(tuple(planned))


def _shared(settings: Pretraining, steps: int) -> list[int]:
    """Steps of each phase by the phases' shares, at least one each; [] where phases have none."""
    shares = [phase.share for phase in settings.phases if phase.share]
    if not shares:
        return []
    if steps < len(shares):
        raise UserError(
            f"pretraining.phases: {steps} steps are too few for {len(shares)} phases; raise pretraining.steps or "
            "remove a phase"
        )
    counts: list[int] = []
    for later, share in zip(range(len(shares) - 1, 0, -1), shares, strict=False):
        most = steps - sum(counts) - later
        counts.append(min(max(round(steps * share / sum(shares)), 1), most))
    return [*counts, steps - sum(counts)]


def _passes(settings: Pretraining, length: int, batch: int, processes: int, phase: str = "") -> tuple[int, int]:
    """Sequences of a forward pass, and passes of a step."""
    if batch % (length * processes):
        where = f" (phase {phase})" if phase else ""
        raise UserError(
            f"pretraining.batch_tokens {batch}{where} must be a multiple of sequence_length {length} x "
            f"{processes} process(es) = {length * processes}"
        )
    rows = batch // length // processes
    most = max(settings.micro_batch * settings.sequence_length // length, 1)
    micro = max(size for size in range(1, min(most, rows) + 1) if rows % size == 0)
    return micro, rows // micro


def rope_of_phases(settings: Pretraining, config: Any, positions: int = 0) -> list[dict[str, Any]]:
    """The rotary parameters of each phase, as transformers' configs hold them; [] where no phase changes them.

    `positions` is the number that a parent was trained with. Raises UserError where the network has no rotary
    positions, or its family no scaling of them.
    """
    if not settings.extends_context:
        return []
    found, known = rope_of(config), family_of(config)
    for phase in settings.phases:
        scales = phase.rope_scaling is not None
        if (scales or phase.rope_theta) and (found is None or (scales and "rope_scaling" not in known.knobs)):
            knob = "rope_scaling" if scales else "rope_theta"
            raise UserError(
                f"pretraining.phases: {phase.name} has {knob}, and a {config.model_type} has none; remove it"
            )
    assert found is not None, "a phase has a knob, and a network without rotary positions has been refused"
    longest, ropes = positions, []
    for phase in settings.phases:
        length = phase.sequence_length or settings.sequence_length
        found = dict(found)
        if phase.rope_theta:
            found["rope_theta"] = phase.rope_theta
        if phase.rope_scaling is not None:
            part = {key: value for key, value in found.items() if key == "partial_rotary_factor"}
            found = rope_parameters(found["rope_theta"], phase.rope_scaling, longest or length) | part
        longest = max(longest, length)
        ropes.append(found)
    return ropes


class PhasedBatches:
    """The training sequences of a run with phases: the interface of `Batches`, by the step of the whole run."""

    def __init__(self, parts: list[tuple[str, int, Batches]]) -> None:
        self.parts = parts
        """Name, steps and loader of each phase."""
        self.shards = parts[0][2].shards
        self._ends = list(accumulate(steps for _, steps, _ in parts))

    @classmethod
    def of_plan(cls, shards: TokenShards, plan: Plan, settings: Pretraining, seed: int, pad_id: int) -> "PhasedBatches":
        """The loader of `plan` over `shards`. Raises UserError for a mixture that the shards cannot fill."""
        shared = sum(phase.tokens for phase in plan.phases if phase.mixture is None)
        epochs, parts = Fraction(0), []
        for phase in plan.phases:
            own = phase.mixture is not None
            mixture = phase.mixture or settings.mixture
            length = phase.sequence_length
            tokens = (phase.tokens if own else shared) if mixture else 0
            try:
                batches = Batches(
                    shards, sequence_length=length, sequences_per_step=phase.batch_tokens // length, seed=seed,
                    pad_id=pad_id, packing=settings.packing, mixture=mixture, mixture_tokens=tokens,
                )  # fmt: skip
            except UserError as error:
                raise UserError(f"phase {phase.name}: {error}") from None
            if not own:
                batches.first_sequence = round(epochs * batches.sequences)
                epochs += Fraction(phase.steps * batches.sequences_per_step, batches.sequences)
            parts.append((phase.name, phase.steps, batches))
        return cls(parts)

    def _at(self, step: int) -> tuple[int, Batches]:
        """Step within its phase, and the phase's loader. Raises IndexError for a step after the last one."""
        number = bisect_right(self._ends, step)
        _, steps, batches = self.parts[number]
        return step - self._ends[number] + steps, batches

    def epoch(self, step: int) -> float:
        """Epochs done when `step` begins, each phase's counted in its own data."""
        return sum(batches.epoch(done) for batches, done in self._done(step))

    def mixture_figures(self, steps: int) -> dict[str, float]:
        """Tokens, share and epochs of each source of a phase's mixture, `phase/NAME/` before their names."""
        names = [name for name, _, _ in self.parts]
        return {
            f"phase/{name}/{key}": value
            for name, (batches, done) in zip(names, self._done(steps), strict=True)
            for key, value in batches.mixture_figures(done).items()
        }

    def _done(self, step: int) -> list[tuple[Batches, int]]:
        """Each phase's loader, and its steps among the first `step` of the run."""
        return [
            (batches, min(max(step - end + steps, 0), steps))
            for (_, steps, batches), end in zip(self.parts, self._ends, strict=True)
        ]

    def micro_batches(self, step: int, micro_batch: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """As `Batches.micro_batches`."""
        local, batches = self._at(step)
        return batches.micro_batches(local, micro_batch, rank, world_size)

    def documents_of_steps(self, start: int, stop: int) -> Iterator[tuple[int, list[DocumentRange]]]:
        """As `Batches.documents_of_steps`."""
        for step in range(start, stop):
            local, batches = self._at(step)
            for _, found in batches.documents_of_steps(local, local + 1):
                yield step, found

    def steps_of_document(self, document: int, steps: int) -> list[tuple[int, DocumentRange]]:
        """As `Batches.steps_of_document`."""
        found = []
        for end, (_, whole, _), (batches, done) in zip(self._ends, self.parts, self._done(steps), strict=True):
            found += [(end - whole + step, item) for step, item in batches.steps_of_document(document, done)]
        return found

    def state_dict(self) -> dict[str, Any]:
        """As `Batches.state_dict`, for each phase."""
        return {
            "phases": [
                {"name": name, "steps": steps, "loader": batches.state_dict()} for name, steps, batches in self.parts
            ]
        }

    def check_state(self, state: dict[str, Any]) -> None:
        """As `Batches.check_state`."""
        theirs, ours = ([(one["name"], one["steps"]) for one in of["phases"]] if "phases" in of else None
                        for of in (state, self.state_dict()))  # fmt: skip
        if theirs != ours:
            raise UserError(f"the checkpoint was trained in phases {theirs} (now {ours}); resume with the same")
        for (_, _, batches), one in zip(self.parts, state["phases"], strict=True):
            batches.check_state(one["loader"])


def loader_from_state(shards: TokenShards | str | Path, state: dict[str, Any]) -> Batches | PhasedBatches:
    """The loader that a training recorded, with or without phases.

    Raises UserError when the shards are not those it was trained on.
    """
    if "phases" not in state:
        return Batches.from_state(shards, state)
    opened = shards if isinstance(shards, TokenShards) else TokenShards(shards)
    return PhasedBatches(
        [(one["name"], one["steps"], Batches.from_state(opened, one["loader"])) for one in state["phases"]]
    )
