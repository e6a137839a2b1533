"""How likely a text is to a model of reference text: perplexity by an n-gram model, as CCNet selects pages.

Wenzek et al. 2020 train a 5-gram model on Wikipedia and cut the pages of the web, by the 30th and the 60th percentile
of their perplexity, into a head, a middle and a tail. The rule `perplexity` (rules/perplexity.py) does that with the
folder that `train-perplexity` writes: a `.npy` file for each array and `config.json`, and no code. Arrays of a local
folder are mapped into memory, so that workers of one machine share them. Perplexity is by word, line
ends counted and spelled words as one (`kernels_perplexity.py`), so that it is the same measure for texts with many
unknown words and with few.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.corpus.cleaning.kernels_perplexity import FIRST, UNKNOWN_CHARACTER, encode, tables
from llm_core.errors import UserError
from llm_core.kernels.arrays import Bytes, Floats, Hashes, Ints, Small
from llm_core.kernels.ngram import Grams, NgramModel
from llm_core.kernels.tables import clear, place
from llm_core.runtime.storage import is_remote, open_file, read_json, write_json

KIND = "words-kneser-ney-2"  # a change of tokenization, hash, smoothing or files needs another name


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
        """Write the arrays and `config.json`; the same model gives the same bytes."""
        vocabulary = {"words": self.vocabulary.words, "characters": self.vocabulary.characters}
        for name, array in {**vocabulary, **self.ngrams.grams._asdict()}.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        config = {"kind": KIND, "order": self.ngrams.order, "percentiles": list(self.percentiles)}
        write_json(folder / "config.json", config)

    @classmethod
    def load(cls, folder: str | Path) -> "PerplexityModel":
        """Read what `save` wrote, local or remote; UserError on anything else."""
        order, percentiles = read_config(folder)
        try:
            vocabulary = Vocabulary(_array(folder, "words"), _array(folder, "characters"))
            ngrams = NgramModel(Grams(*(_array(folder, name) for name in Grams._fields)), vocabulary.size)
            ngrams.grams.check()
            if ngrams.order != order:
                raise ValueError(f"it has the order {ngrams.order}, config.json says {order}")
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{folder}: no n-gram model can be read ({error}); train it again") from None
        return cls(vocabulary, ngrams, percentiles)


def _array(folder: str | Path, name: str) -> Any:
    """An array of a folder; of a local one its pages are read when they are needed, and shared between processes."""
    file = f"{folder}/{name}.npy"
    if is_remote(file):
        with open_file(file) as stream:
            return np.load(io.BytesIO(stream.read()), allow_pickle=False)
    return np.load(file, mmap_mode="c", allow_pickle=False)


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
