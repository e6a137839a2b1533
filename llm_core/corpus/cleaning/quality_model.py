"""Quality by a trained model: a linear classifier over hashed words and pairs of words, and the step `model`.

The design of fastText's classifiers, with which GPT-3, DCLM and others selected pages: the document as a bag of 1- and
2-grams hashed to a fixed number of features, one weight each. Words and single marks count as tokens, because marks
distinguish boilerplate from prose. A folder holds `model.safetensors` and `config.json`, and no code.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.feature_extraction.text import HashingVectorizer

from llm_core.corpus.cleaning.batch import Batch
from llm_core.errors import UserError
from llm_core.kernels.words import tokens
from llm_core.params.cleaning import QualityModel
from llm_core.runtime.storage import open_file, read_json, write_json

KIND = "hashed-ngrams-2"  # of the features: a change of tokenization, hash or norm needs another name
SPACE = re.compile(r"\s")


class ModelStep:
    """Writes each document's `quality_score` into its metadata; drops those below the threshold, if there is one."""

    def __init__(self, params: QualityModel, exempt: Iterable[str] = ()) -> None:
        if params.path is None:
            raise UserError("cleaning.quality_model.path: the step `model` needs the folder that `train-quality` wrote")
        self.classifier, self.threshold = Classifier.load(params.path), params.threshold
        self.exempt = frozenset(exempt)

    def __call__(self, batch: Batch) -> None:
        """Judge the living documents."""
        rows = [row for row in batch.alive() if batch.sources[row] not in self.exempt]
        for row, score in zip(rows, self.classifier.score([batch.texts[row] for row in rows]), strict=True):
            batch.update_metadata(row, quality_score=round(float(score), 4))
            if self.threshold is not None and score < self.threshold:
                batch.drop(row, "quality_model", float(score))


@dataclass(frozen=True)
class Classifier:
    """Weights [features] and bias; a document's score is the mean over its passages of the sigmoid, from 0 to 1."""

    weights: np.ndarray
    bias: float
    passage_characters: int
    max_passages: int

    def score(self, texts: list[str]) -> np.ndarray:
        """Scores, float64 [texts]: similarity to the good documents. A text's score does not depend on its
        neighbours."""
        divided = [passages(text, self.passage_characters, self.max_passages) for text in texts]
        if not divided:
            return np.zeros(0)
        counts = np.array([len(parts) for parts in divided])
        logits = features((part for parts in divided for part in parts), len(self.weights)) @ self.weights + self.bias
        return np.add.reduceat(expit(logits), np.concatenate(([0], np.cumsum(counts)[:-1]))) / counts

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` (float32) and `config.json`; the same weights give the same bytes."""
        tensors = {"weights": self.weights.astype(np.float32), "bias": np.array([self.bias], np.float32)}
        Path(folder, "model.safetensors").write_bytes(save(tensors))
        config = {
            "kind": KIND,
            "features": len(self.weights),
            "passage_characters": self.passage_characters,
            "max_passages": self.max_passages,
        }
        write_json(folder / "config.json", config)

    @classmethod
    def load(cls, folder: str | Path) -> "Classifier":
        """Read what `save` wrote, local or remote; UserError on anything else."""
        config = read_json(f"{folder}/config.json")
        names = ("features", "passage_characters", "max_passages")
        if not isinstance(config, dict) or config.get("kind") != KIND:
            raise UserError(
                f"{folder}/config.json: no quality model (`kind` is not {KIND}); `train-quality` writes one"
            )
        if not all(type(config.get(name)) is int and config[name] > 0 for name in names):
            raise UserError(f"{folder}/config.json: {', '.join(names)} must be positive integers")
        try:
            with open_file(f"{folder}/model.safetensors") as stream:
                tensors: dict[str, Any] = load(stream.read())
            weights, bias = tensors["weights"].astype(np.float64), tensors["bias"].astype(np.float64)
        except (OSError, SafetensorError, KeyError) as error:
            raise UserError(f"{folder}/model.safetensors: no weights can be read ({error})") from None
        if weights.shape != (config["features"],) or bias.shape != (1,) or not np.isfinite(weights).all():
            raise UserError(f"{folder}/model.safetensors: weights {weights.shape} are not those of config.json")
        return cls(weights, float(bias[0]), config["passage_characters"], config["max_passages"])


def passages(text: str, characters: int, most: int) -> list[str]:
    """The first `most` passages of about `characters`, each to the next space; an empty text is one empty passage."""
    parts: list[str] = []
    start = 0
    while start < len(text) and len(parts) < most:
        found = SPACE.search(text, start + characters, start + 2 * characters)
        end = found.start() if found else start + 2 * characters
        parts.append(text[start:end])
        start = end
    return parts or [""]


def features(texts: Iterable[str], size: int) -> csr_matrix:
    """float64 [texts, size]: counts of lower-case 1- and 2-grams by hash, each row of Euclidean length 1."""
    return HashingVectorizer(
        n_features=size, ngram_range=(1, 2), token_pattern=None, tokenizer=tokens, alternate_sign=False, norm="l2"
    ).transform(texts)
