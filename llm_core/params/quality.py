"""Params of quality rules: what every rule has, the registry of rules, and the published recipes.

A rule is one module of `corpus/cleaning/rules`, or an entry point of the group `llm_core.quality_rules` in another
distribution: a class with its params (thresholds by datatrove's names, with the same defaults; null switches one off),
the reasons it drops for and the thresholds behind them, and the function that judges. Every rule is a recipe by its
own name, with its defaults.
"""

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny, ValidationError, field_validator

from llm_core.params.base import Section
from llm_core.params.languages import language_code
from llm_core.params.plugins import discover

GROUP = "llm_core.quality_rules"


class Rule(Section):
    """What every quality rule has. A subclass names its rule in `rule: Literal["NAME"] = "NAME"`.

    It says what it finds in `verdict`, document by document, or in `judge`, for many at once.
    """

    THRESHOLDS: ClassVar[dict[str, str]] = {}
    """Reason in the ledger -> field with the threshold behind it."""

    NOTE: ClassVar[str | None] = None
    """Name under which the figure of each judged document is written to its metadata, kept ones too; None for no."""

    rule: str
    """Name of the rule."""
    language: str | None = "en"
    """Language that the rule's thresholds and word lists are made for; null for any. Documents in other languages are
    treated as `cleaning.other_languages` says."""

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str | None) -> str | None:
        return value if value is None else language_code(value)

    def inputs(self) -> list[str]:
        """Files and folders that the rule reads: a stage that runs it depends on their content."""
        return []

    def threshold(self, reason: str) -> float | None:
        """The threshold behind a reason; None where the reason is not this rule's, or the threshold is off."""
        value = getattr(self, self.THRESHOLDS[reason]) if reason in self.THRESHOLDS else None
        return None if value is None else float(value)

    def verdict(self, text: str) -> tuple[str | None, float]:
        """(reason to drop the text, or None to keep it; the figure that decided, NaN for none)."""
        raise NotImplementedError

    def judge(self, words: Any) -> Any:
        """A function from tokenized documents to reasons, figures [documents] and changed texts (None: no change).

        `words` is a `Words`, the function a `Judge` of `corpus/cleaning/quality.py`.
        """
        import numpy as np

        def judged(t: Any) -> Any:
            texts = [t.data[t.bounds[i] : t.bounds[i + 1]].tobytes().decode() for i in range(len(t.bounds) - 1)]
            found = [self.verdict(text) for text in texts]
            return [reason for reason, _ in found], np.array([figure for _, figure in found], np.float64), None

        return judged


def rules() -> dict[str, type[Rule]]:
    """Every rule by its name, those of plugins included."""
    return discover("llm_core.corpus.cleaning.rules", "RULE", GROUP)


def make_rule(value: Any) -> Any:
    """A rule from a mapping of its params; ValueError where it names none, or one that is not there."""
    if isinstance(value, Rule):
        return value
    name = value.get("rule") if isinstance(value, dict) else None
    if name not in rules():
        raise ValueError(f"a rule is needed, as in {{rule: NAME, …}}; NAME is one of {', '.join(rules())}")
    try:
        return rules()[name].model_validate(value)
    except ValidationError as error:
        found = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(f"{name}: {'; '.join(found)} (its params: {', '.join(rules()[name].model_fields)})") from None


AnyRule = Annotated[SerializeAsAny[Rule], BeforeValidator(make_rule)]


@cache
def built_in() -> dict[str, list[Rule]]:
    """The published recipes by name: each rule by itself, and `fineweb`, the sequence behind the FineWeb data set."""
    found: dict[str, list[Rule]] = {name: [make_rule({"rule": name})] for name in rules()}
    c4 = make_rule({"rule": "c4", "filter_no_terminal_punct": False})
    return found | {
        "fineweb": [*found["gopher_repetition"], *found["gopher_quality"], c4, *found["fineweb_quality"]],
    }


def recipes(named: dict[str, list[Rule]]) -> list[str]:
    """Names of all recipes, those of the params last."""
    return list(dict.fromkeys([*built_in(), *named]))


def threshold(reason: str | None, chosen: Sequence[Rule]) -> float | None:
    """The threshold behind a reason in the ledger, by the first of the rules that drops for it; None for none."""
    found = (rule.threshold(reason or "") for rule in chosen)
    return next((value for value in found if value is not None), None)
