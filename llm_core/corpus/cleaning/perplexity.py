"""How likely a text is to a model of reference text: perplexity by an n-gram model, as CCNet selects pages.

Wenzek et al. 2020 train a 5-gram model on Wikipedia and cut the pages of the web, by the 30th and the 60th percentile
of their perplexity, into a head, a middle and a tail. The rule `perplexity` (rules/perplexity.py) does that with the
folder that `train-perplexity` writes: `model.safetensors` and `config.json`, and no code. Perplexity is by word, line
ends counted and spelled words as one (`kernels_perplexity.py`), so that it is the same measure for texts with many
unknown words and with few.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from llm_core.corpus.cleaning.kernels_perplexity import FIRST, UNKNOWN_CHARACTER, encode, tables
from llm_core.errors import UserError
from llm_core.kernels.arrays import Bytes, Floats, Hashes, Ints, Small
from llm_core.kernels.ngram import NgramModel, Order
from llm_core.kernels.tables import clear, place
from llm_core.runtime.storage import open_file, read_json, write_json

KIND = "words-kneser-ney"  # a change of tokenization, hash or smoothing needs another name
PARTS = ("tokens", "starts", "discounted", "rest")


@dataclass(frozen=True)
class PerplexityModel:
    """Vocabulary and n-gram model of the reference, and the percentiles of a sample's perplexity."""

    vocabulary: "Vocabulary"
    ngrams: NgramModel
    percentiles: tuple[float, ...]
    """The 1st to 99th percentile of the sample, by document; empty without a sample."""

    def perplexity(self, data: Bytes, bounds: Ints) -> Floats:
        """Perplexity by word of each text, float64 [texts]; NaN for one without a word."""
        tokens, lines, first, words = self.vocabulary.encode(data, bounds)
        sums = np.concatenate([[0.0], np.cumsum(self.ngrams.bits_of(tokens, lines))])[lines[first]]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found: Floats = np.exp2((sums[1:] - sums[:-1]) / words)
        return found

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`; the same model gives the same bytes."""
        tensors = {"words": self.vocabulary.words, "characters": self.vocabulary.characters}
        for number, order in enumerate(self.ngrams.orders, start=1):
            tensors |= {f"{number}.{part}": getattr(order, part) for part in PARTS}
        Path(folder, "model.safetensors").write_bytes(save(tensors))
        config = {"kind": KIND, "order": len(self.ngrams.orders), "percentiles": list(self.percentiles)}
        write_json(folder / "config.json", config)

    @classmethod
    def load(cls, folder: str | Path) -> "PerplexityModel":
        """Read what `save` wrote, local or remote; UserError on anything else."""
        longest, percentiles = read_config(folder)
        try:
            with open_file(f"{folder}/model.safetensors") as stream:
                tensors: dict[str, Any] = load(stream.read())
            vocabulary = Vocabulary(tensors["words"], tensors["characters"])
            orders = [Order(*(tensors[f"{k}.{part}"] for part in PARTS)) for k in range(1, longest + 1)]
        except (OSError, SafetensorError, KeyError) as error:
            raise UserError(f"{folder}/model.safetensors: no n-gram model can be read ({error})") from None
        contexts = 1
        for order in orders:  # a bound that does not hold would have compiled code read beyond an array
            starts, grams = order.starts, len(order.tokens)
            whole = len(starts) == contexts + 1 and len(order.rest) == contexts and len(order.discounted) == grams
            if not whole or starts[0] != 0 or starts[-1] != grams or (np.diff(starts) < 0).any():
                raise UserError(f"{folder}/model.safetensors: its arrays do not belong together; train it again")
            contexts = grams
        return cls(vocabulary, NgramModel(orders, vocabulary.size), percentiles)


class Vocabulary:
    """The tokens: those of `kernels_perplexity.py`, then characters, then words."""

    def __init__(self, words: Hashes, characters: Small) -> None:
        """`words`: their hashes, uint64 [words]. `characters`: code points that a word is spelled with, int32."""
        self.words, self.characters = words, characters
        self.size = FIRST + len(characters) + len(words)
        self.spelling = np.full(0x110000, UNKNOWN_CHARACTER, np.int32)
        self.spelling[characters] = FIRST + np.arange(len(characters), dtype=np.int32)
        self.keys = np.zeros(max(16, 1 << (2 * len(words)).bit_length()), np.uint64)
        self.keys = self.keys[: clear(self.keys, len(words)) + 1]
        self.ids = np.zeros(len(self.keys), np.int32)
        for number, value in enumerate(words, start=FIRST + len(characters)):
            slot = place(self.keys, len(self.keys) - 1, value)
            self.keys[slot], self.ids[slot] = value, number

    def encode(self, data: Bytes, bounds: Ints) -> tuple[Small, Ints, Ints, Ints]:
        """Tokens, bounds of lines, first line of each text, words of each text; see `kernels_perplexity.encode`."""
        return encode(data, bounds, *tables(), self.spelling, self.keys, self.ids)  # type: ignore[no-any-return]


def read_config(folder: str | Path) -> tuple[int, tuple[float, ...]]:
    """Order and percentiles of the model in `folder`; UserError where there is no such model."""
    config = read_json(f"{folder}/config.json")
    if not isinstance(config, dict) or config.get("kind") != KIND or not isinstance(config.get("order"), int):
        raise UserError(
            f"{folder}/config.json: no perplexity model (`kind` is not {KIND}); `train-perplexity` writes one"
        )
    percentiles = config.get("percentiles")
    if not isinstance(percentiles, list) or len(percentiles) not in (0, 99):
        raise UserError(f"{folder}/config.json: percentiles must be 99 numbers, or none")
    return config["order"], tuple(map(float, percentiles))
