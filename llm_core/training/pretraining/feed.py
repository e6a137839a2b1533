"""What a process trains on in each step: its part of the global batch, as the network takes it.

On a GPU the inputs of the next step are made in a thread while the GPU works on this one, so that it does not wait for
them (docs/explanation/tokens.md has the figures). On a CPU the thread would take a core from the network. Inputs are a
function of the step, so that the thread makes no difference to them.
"""

from concurrent.futures import Future, ThreadPoolExecutor

from llm_core.training.pretraining.batches import Batches
from llm_core.training.pretraining.engine import World
from llm_core.training.pretraining.objectives import Corruption, Inputs
from llm_core.training.pretraining.phases import PhasedBatches, Plan
from llm_core.training.pretraining.sequence_parallel import stretch


class Feed:
    """The inputs of each step, one for each forward pass of this process; `ahead` makes the next step's in a thread."""

    def __init__(
        self, batches: Batches | PhasedBatches, corruption: Corruption, plan: Plan, world: World, ahead: bool
    ) -> None:
        self.batches, self.corruption, self.plan, self.world = batches, corruption, plan, world
        self._pool = ThreadPoolExecutor(1, "feed") if ahead else None
        self._next: tuple[int, Future[list[Inputs]]] | None = None

    def __call__(self, step: int) -> list[Inputs]:
        """The inputs of `step`."""
        if self._pool is None:
            return self._made(step)
        found = self._next[1].result() if self._next and self._next[0] == step else self._made(step)
        self._next = (step + 1, self._pool.submit(self._made, step + 1)) if step + 1 < self.plan.steps else None
        return found

    def first_row(self, step: int) -> int:
        """Place in the step's global batch of the first row of this process."""
        _, phase = self.plan.of(step)
        return self.world.data_rank * phase.micro_batch * phase.accumulation

    def _made(self, step: int) -> list[Inputs]:
        micro, world = self.plan.of(step)[1].micro_batch, self.world
        made = []
        for number, batch in enumerate(self.batches.micro_batches(step, micro, world.data_rank, world.data_size)):
            inputs = self.corruption(batch, step, self.first_row(step) + number * micro)
            made.append(stretch(inputs, world.sequence, world.sequence_rank))
        return made
