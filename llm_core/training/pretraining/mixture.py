"""A training set that is mixed from sources by weight while it is loaded; no text is copied.

A run is one pass over its mixture: of the run's tokens each source gets the share that its weight gives it, to within
one document. Of a source that is larger than its share a part is read, which the seed draws; a smaller one is read
several times (Muennighoff et al. 2023: up to 4 passes are worth about as much as new text). With a continued training
this is the replay of general text beside a new domain's (Ibrahim et al. 2024, "Simple and Scalable Strategies to
Continually Pre-train Large Language Models").
"""

import numpy as np

from llm_core.errors import UserError, require_known
from llm_core.formats.token_shards import TokenShards
from llm_core.kernels.arrays import Ints
from llm_core.params.pretraining import Mixture
from llm_core.training.pretraining.permutation import Permutation


class Drawn:
    """The documents of a run of `tokens` tokens in sequences of `sequence_length`, drawn from `shards` by `mixture`.

    Attributes: `passes`, for each pass over the sources the numbers of its documents (int64, ascending); `drawn`, for
    each source its tokens in all passes, and how many passes over it they are. A source is those of its documents that
    the mixture's `min_tokens` and `whole_documents` leave.
    Raises UserError: a source that the shards do not hold, or of which nothing is left, or that would be read more than
    `max_epochs` times.
    """

    def __init__(
        self, shards: TokenShards, mixture: Mixture, tokens: int, seed: int, sequence_length: int
    ) -> None:  # fmt: skip
        names, codes = shards.sources()
        lengths = shards.lengths
        members: dict[str, Ints] = {}
        given = mixture.weights or mixture.epochs or {}
        require_known(given, names, f"pretraining.mixture.{'weights' if mixture.weights else 'epochs'}")
        for name in sorted(name for name, value in given.items() if value > 0):
            of = np.flatnonzero(codes == names.index(name))
            longest = sequence_length if mixture.whole_documents else np.inf
            members[name] = of[(lengths[of] >= mixture.min_tokens) & (lengths[of] <= longest)]
            if not len(members[name]):
                raise UserError(
                    f"pretraining.mixture: source {name} has no document of {max(mixture.min_tokens, 1):,} tokens or "
                    f"more{f' that fits into {sequence_length:,}' if mixture.whole_documents else ''}; its documents "
                    f"have {int(lengths[of].min()):,} to {int(lengths[of].max()):,}"
                )
        sizes = {name: int(lengths[of].sum()) for name, of in members.items()}
        shares = {name: given[name] * (1 if mixture.weights else sizes[name]) for name in members}
        total = sum(shares.values())
        parts: list[list[Ints]] = []
        drawn: dict[str, tuple[int, float]] = {}
        for name, of in members.items():
            size, target = sizes[name], tokens * shares[name] / total
            if target > mixture.max_epochs * size:
                raise UserError(
                    f"pretraining.mixture: {tokens:,} tokens with a share of {shares[name] / total:.1%} read "
                    f"the {size:,} tokens of source {name} {target / size:.1f} times, and max_epochs is "
                    f"{mixture.max_epochs:g}; lower its weight or pretraining.steps, or raise max_epochs"
                )
            found = _passes(of, lengths[of], target, seed, name)
            reached = sum(int(lengths[part].sum()) for part in found)
            drawn[name] = reached, reached / size
            parts.append(found)
        self.passes = [
            np.sort(np.concatenate([of[number] for of in parts if number < len(of)]))
            for number in range(max(map(len, parts)))
        ]
        self.drawn = drawn

    def figures(self, share: float) -> dict[str, float]:
        """`mixture_tokens/`, `mixture_share/` (of all tokens) and `mixture_epochs/` of each source, by its name, for
        a run that read the `share` of this epoch. Padding makes it smaller than 1.
        """
        together = sum(reached for reached, _ in self.drawn.values())
        found: dict[str, float] = {}
        for name, (reached, epochs) in self.drawn.items():
            found |= {
                f"mixture_tokens/{name}": round(reached * share),
                f"mixture_share/{name}": round(reached / together, 6),
                f"mixture_epochs/{name}": round(epochs * share, 4),
            }
        return found


def _passes(documents: Ints, lengths: Ints, target: float, seed: int, name: str) -> list[Ints]:
    """Whole passes over the documents, then a part in a random order that first reaches `target` tokens with them."""
    size = int(lengths.sum())
    whole = int(target // size)
    passes = [documents] * whole
    rest = target - whole * size
    if rest > 0:
        order = Permutation(len(documents), seed, "mixture", name)(np.arange(len(documents)))
        count = int(np.searchsorted(np.cumsum(lengths[order]), rest)) + 1
        passes.append(documents[order[:count]])
    return passes
