"""The data loader: random access to any training step, the same for every world size, without hidden state.

Step `s` of a run takes the sequences `s * sequences_per_step` onwards of an endless list:
the packed sequences of the corpus, shuffled anew for each epoch by a computed permutation.
Which sequences a step sees depends on (seed, step, sequences_per_step) alone, so ranks,
micro-batches and accumulation only cut the same global batch differently; a resumed run
needs only its step; and `documents_of_steps` names the exact documents of any step.

Rows are copied from the mapped token shards on demand (see `benchmarks/loader.py`), without a
worker process. The trade-off: the packing is decided once, so documents that
share a sequence share it in every epoch; and the plan is held in memory (`packing`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.params.pretraining import Mixture
from llm_core.training.pretraining.mixture import Drawn
from llm_core.training.pretraining.packing import Packing, plan, plan_passes
from llm_core.training.pretraining.permutation import Permutation

IGNORED = -100  # target of a slot that predicts nothing (padding, a document's last token); torch's ignore_index


class Batch(NamedTuple):
    """Sequences of a micro-batch, int64 [B, T] each: numpy arrays, or torch tensors after `to`."""

    input_ids: Any
    """Token ids; `pad_id` in unused slots."""
    targets: Any
    """The document's next token; -100 at a document's last token and in unused slots."""
    position_ids: Any
    """Position within the piece of a document, from 0."""
    segment_ids: Any
    """1, 2, … for the pieces of a sequence, 0 in unused slots; with a document mask, tokens attend where it is
    equal."""

    def to(self, device: Any = "cpu") -> "Batch":
        """The batch as torch tensors on `device`."""
        import torch

        return Batch(*(torch.from_numpy(array).to(device, non_blocking=True) for array in self))


class DocumentRange(NamedTuple):
    """Tokens `start` to `stop` of a document, as a training sequence holds them."""

    id: str
    source: str
    start: int
    stop: int
    sequence: int
    """Place of the sequence in the step's global batch, 0 … sequences_per_step - 1."""


class Batches:
    """The training sequences of a run.

    `sequence_length` T is the number of input tokens in a row; the targets are one token later, across
    a cut. `pad_id` fills unused slots. Attributes: `sequences` in an epoch; `epoch_tokens`, the
    targets that an epoch trains on; `fill`, the share of slots that hold a token.
    The first step begins `first_sequence` sequences after the start of the list (a phase that goes on with the data).
    With a `mixture` an epoch is a run of `mixture_tokens` tokens, in which the sources have the shares of its weights.
    Raises UserError for an empty corpus, and for a mixture that cannot be drawn from it.
    """

    def __init__(
        self,
        shards: TokenShards | str | Path,
        *,
        sequence_length: int,
        sequences_per_step: int,
        seed: int,
        pad_id: int,
        packing: Packing = "best_fit",
        mixture: Mixture | None = None,
        mixture_tokens: int = 0,
        first_sequence: int = 0,
    ) -> None:
        self.shards = shards if isinstance(shards, TokenShards) else TokenShards(shards)
        if self.shards.tokens == 0:
            raise UserError(f"{self.shards.folder}: holds no tokens to train on")
        self.sequence_length, self.sequences_per_step = sequence_length, sequences_per_step
        self.seed, self.pad_id, self.packing = seed, pad_id, packing
        self.mixture, self.mixture_tokens = mixture, mixture_tokens
        self.first_sequence = first_sequence
        self._drawn: Drawn | None = None
        lengths, documents = self.shards.lengths, len(self.shards)
        if mixture is None:
            self.plan = plan(lengths, sequence_length, packing, seed)
        else:
            if mixture.whole_documents and packing != "best_fit":
                raise UserError("pretraining.mixture.whole_documents: packing concatenate cuts; set packing best_fit")
            self._drawn = Drawn(self.shards, mixture, mixture_tokens, seed, sequence_length)
            self.plan = plan_passes(lengths, self._drawn.passes, sequence_length, packing, seed)
            documents = sum(map(len, self._drawn.passes))
        self.sequences = len(self.plan.first) - 1
        tokens = int(self.plan.length.sum(dtype=np.int64))
        self.epoch_tokens = tokens - documents
        self.fill = tokens / (self.sequences * sequence_length)
        self._shuffles: dict[int, Permutation] = {}

    def epoch(self, step: int) -> float:
        """Epochs of this loader's own steps when `step` begins."""
        return step * self.sequences_per_step / self.sequences

    def mixture_figures(self, steps: int) -> dict[str, float]:
        """Tokens, share and epochs of each source of the mixture in so many steps; {} without a mixture."""
        return self._drawn.figures(self.epoch(steps)) if self._drawn else {}

    def sequences_of_step(self, step: int) -> npt.NDArray[np.int64]:
        """Numbers of the packed sequences that make the global batch of `step`: int64 [sequences_per_step]."""
        places = self.first_sequence + np.arange(step * self.sequences_per_step, (step + 1) * self.sequences_per_step)
        epochs, places = places // self.sequences, places % self.sequences
        chosen = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            chosen[epochs == epoch] = self._shuffle(epoch)(places[epochs == epoch])
        return chosen

    def micro_batches(self, step: int, micro_batch: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """The micro-batches of `micro_batch` rows that `rank` of `world_size` trains on in `step`.

        Raises UserError unless sequences_per_step is a multiple of world_size * micro_batch.
        """
        if self.sequences_per_step % (world_size * micro_batch):
            raise UserError(
                f"a step of {self.sequences_per_step} sequences cannot be cut into {world_size} ranks "
                f"times micro-batches of {micro_batch}: make it a multiple of {world_size * micro_batch}"
            )
        mine = np.split(self.sequences_of_step(step), world_size)[rank]
        for chosen in np.split(mine, len(mine) // micro_batch):
            yield self.rows(chosen)

    def target_tokens(self, step: int) -> int:
        """Targets (not -100) in the global batch of `step`: the weight of its mean loss, without communication."""
        count = 0
        for sequence in self.sequences_of_step(step).tolist():
            pieces = slice(*self.plan.first[sequence : sequence + 2].tolist())
            ends = self.plan.start[pieces] + self.plan.length[pieces] == self.shards.lengths_of(
                self.plan.document[pieces]
            )
            count += int(self.plan.length[pieces].sum()) - int(ends.sum())
        return count

    def rows(self, sequences: npt.NDArray[np.int64]) -> Batch:
        """The packed `sequences` (int64 [B]) as a batch of B rows."""
        shape = (len(sequences), self.sequence_length)
        batch = Batch(
            np.full(shape, self.pad_id, np.int64), np.full(shape, IGNORED, np.int64), np.zeros(shape, np.int64),
            np.zeros(shape, np.int64),
        )  # fmt: skip
        for row, sequence in enumerate(sequences.tolist()):
            slot, (begin, end) = 0, self.plan.first[sequence : sequence + 2].tolist()
            pieces = zip(
                self.plan.document[begin:end].tolist(),
                self.plan.start[begin:end].tolist(),
                self.plan.length[begin:end].tolist(),
                strict=True,
            )
            for segment, (document, start, length) in enumerate(pieces, start=1):
                ids = self.shards.ids(document, start, start + length + 1)
                batch.input_ids[row, slot : slot + length] = ids[:length]
                batch.targets[row, slot : slot + len(ids) - 1] = ids[1:]
                batch.position_ids[row, slot : slot + length] = np.arange(length)
                batch.segment_ids[row, slot : slot + length] = segment
                slot += length
        return batch

    def documents_of_steps(self, start: int, stop: int) -> Iterator[tuple[int, list[DocumentRange]]]:
        """For each step from `start` to `stop - 1`: the documents of its global batch, with their token ranges."""
        for step in range(start, stop):
            found = []
            for place, sequence in enumerate(self.sequences_of_step(step).tolist()):
                for piece in range(*self.plan.first[sequence : sequence + 2].tolist()):
                    document, begin = int(self.plan.document[piece]), int(self.plan.start[piece])
                    name, source = self.shards.id(document), self.shards.source(document)
                    found.append(DocumentRange(name, source, begin, begin + int(self.plan.length[piece]), place))
            yield step, found

    def steps_of_document(self, document: int, steps: int) -> list[tuple[int, DocumentRange]]:
        """The steps among the first `steps` in which the document numbered `document` was trained on, and which tokens.

        The inverse of `documents_of_steps`, computed without replaying the run.
        """
        name, source = self.shards.id(document), self.shards.source(document)
        pieces = np.flatnonzero(self.plan.document == document)
        sequences = np.searchsorted(self.plan.first, pieces, side="right") - 1
        found = []
        end = self.first_sequence + steps * self.sequences_per_step
        for epoch in range(self.first_sequence // self.sequences, -(-end // self.sequences)):
            places = epoch * self.sequences + self._shuffle(epoch).inverse(sequences)
            for piece, place in zip(pieces.tolist(), places.tolist(), strict=True):
                step, row = divmod(place - self.first_sequence, self.sequences_per_step)
                if 0 <= step < steps:
                    begin = int(self.plan.start[piece])
                    stop = begin + int(self.plan.length[piece])
                    found.append((step, DocumentRange(name, source, begin, stop, row)))
        return sorted(found, key=lambda item: (item[0], item[1].sequence, item[1].start))

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, beside its step: everything that decides which tokens a step sees."""
        return {
            "seed": self.seed,
            "sequence_length": self.sequence_length,
            "sequences_per_step": self.sequences_per_step,
            "packing": self.packing,
            "pad_id": self.pad_id,
            "documents": len(self.shards),
            "tokens": self.shards.tokens,
            "corpus": self.shards.fingerprint(),
            "mixture": self.mixture.model_dump(mode="json") if self.mixture else None,
            "mixture_tokens": self.mixture_tokens,
            **({"first_sequence": self.first_sequence} if self.first_sequence else {}),
        }

    def check_state(self, state: dict[str, Any]) -> None:
        """Raise UserError when a checkpoint's `state_dict` names other data or another order than this loader."""
        state = {"mixture_tokens": 0, "first_sequence": 0} | state  # a checkpoint from before mixtures, or no phase
        if state.get("mixture"):  # one from before newer settings of mixtures
            state["mixture"] = Mixture.model_validate(state["mixture"]).model_dump(mode="json")
        ours = {"first_sequence": 0} | self.state_dict()
        differing = [key for key, value in ours.items() if state.get(key) != value]
        if differing:
            was = ", ".join(f"{key} {state.get(key)!r} (now {ours[key]!r})" for key in differing)
            raise UserError(f"the checkpoint was trained on another order of data: {was}; resume with the same")

    @classmethod
    def from_state(cls, shards: TokenShards | str | Path, state: dict[str, Any]) -> "Batches":
        """The loader that a checkpoint's `state_dict` describes, over the same shards.

        Raises UserError when the shards are not those it was trained on.
        """
        keys = ("sequence_length", "sequences_per_step", "seed", "pad_id", "packing")
        mixture = Mixture.model_validate(state["mixture"]) if state.get("mixture") else None
        tokens, first = state.get("mixture_tokens", 0), state.get("first_sequence", 0)
        loader = cls(
            shards, **{key: state[key] for key in keys}, mixture=mixture, mixture_tokens=tokens, first_sequence=first
        )  # fmt: skip
        loader.check_state(state)
        return loader

    def _shuffle(self, epoch: int) -> Permutation:
        known = self._shuffles  # another thread may replace it
        if epoch not in known:
            known = self._shuffles = {epoch: Permutation(self.sequences, self.seed, "sequences", epoch)}
        return known[epoch]
