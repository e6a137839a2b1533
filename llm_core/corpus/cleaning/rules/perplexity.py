"""Perplexity by an n-gram model of reference text: CCNet's head, middle and tail, or bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from llm_core.errors import UserError
from llm_core.params.quality import Rule

if TYPE_CHECKING:
    from llm_core.corpus.cleaning.perplexity import PerplexityModel
    from llm_core.corpus.cleaning.quality import Judge, Judged
    from llm_core.corpus.cleaning.token_memo import Tokens, Words

Part = Literal["head", "middle", "tail"]
PARTS: list[Part] = ["head", "middle", "tail"]


class Perplexity(Rule):
    """Perplexity by an n-gram model (Wenzek et al. 2020); each judged document's is written to its metadata."""

    THRESHOLDS: ClassVar[dict[str, str]] = {
        "perplexity_low": "min_perplexity",
        "perplexity_high": "max_perplexity",
        "perplexity_head": "head_percentile",
        "perplexity_middle": "head_percentile",
        "perplexity_tail": "tail_percentile",
    }
    NOTE: ClassVar[str | None] = "perplexity"

    rule: Literal["perplexity"] = "perplexity"
    """Name of the rule."""
    language: str | None = None
    """Language of the reference text that the model was trained on; null judges documents of any language."""
    path: str | None = None
    """Folder that `train-perplexity` wrote; the rule needs it."""
    keep: list[Part] = Field(default=PARTS, min_length=1)
    """Parts of the documents that are kept, by the percentiles of the sample that `train-perplexity` was given: `head`,
    `middle`, `tail`."""
    head_percentile: int = Field(30, ge=1, le=99)
    """Percentile of the sample up to which a document is of the head."""
    tail_percentile: int = Field(60, ge=1, le=99)
    """Percentile of the sample above which a document is of the tail."""
    min_perplexity: float | None = Field(None, ge=1)
    """Minimum perplexity by word; text that repeats itself, or a part of the reference, is below."""
    max_perplexity: float | None = Field(None, ge=1)
    """Maximum perplexity by word; text that does not resemble the reference is above."""

    @model_validator(mode="after")
    def _ordered(self) -> Perplexity:
        if self.head_percentile > self.tail_percentile:
            raise ValueError("head_percentile is above tail_percentile, so there would be no middle; exchange them")
        return self

    def inputs(self) -> list[str]:
        """See `Rule.inputs`."""
        return [self.path] if self.path else []

    def threshold(self, reason: str) -> float | None:
        """See `Rule.threshold`; for a part, the sample's perplexity at the percentile, None where the model is gone."""
        from llm_core.corpus.cleaning.perplexity import read_config

        value = super().threshold(reason)
        if value is None or reason in ("perplexity_low", "perplexity_high"):
            return value
        try:
            _, percentiles = read_config(self.path or "")
        except UserError:
            return None
        return percentiles[int(value) - 1] if percentiles else None

    def judge(self, words: Words) -> Judge:
        """See `Rule.judge`."""
        model, parts = self._model(), set(self.keep)
        by_part = len(parts) < len(PARTS)
        cuts = (self.head_percentile, self.tail_percentile)
        head, tail = (model.percentiles[at - 1] if by_part else np.nan for at in cuts)

        def reason(value: float) -> str | None:
            if np.isnan(value):  # no word in it: nothing is known of it
                return None
            if self.min_perplexity is not None and value < self.min_perplexity:
                return "perplexity_low"
            if self.max_perplexity is not None and value > self.max_perplexity:
                return "perplexity_high"
            part = "head" if value <= head else "middle" if value <= tail else "tail"
            return f"perplexity_{part}" if by_part and part not in parts else None

        def judge(t: Tokens) -> Judged:
            figures = model.perplexity(t.data, t.bounds)
            return [reason(value) for value in figures.tolist()], figures, None

        return judge

    def _model(self) -> PerplexityModel:
        """The trained model; UserError where there is none, or the parts need a sample that it was not given."""
        from llm_core.corpus.cleaning.perplexity import PerplexityModel

        if self.path is None:
            raise UserError(
                "cleaning.recipes: the rule `perplexity` needs `path`, the folder that `llm-core train-perplexity` "
                "wrote: {rule: perplexity, path: FOLDER}"
            )
        model = PerplexityModel.load(self.path)
        if len(set(self.keep)) < len(PARTS) and not model.percentiles:
            raise UserError(
                f"{self.path}: it was trained without a sample of the documents to be judged, so `keep` has no "
                "percentiles; run `train-perplexity` with --sample, or set max_perplexity"
            )
        return model


RULE = Perplexity
