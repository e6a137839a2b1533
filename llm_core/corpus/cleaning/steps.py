"""From the names in `cleaning.steps` to the steps themselves."""

from collections.abc import Callable

from llm_core.corpus.cleaning.batch import Batch, Step
from llm_core.errors import UserError
from llm_core.params.cleaning import Cleaning
from llm_core.params.quality import built_in, recipes


class ShortStep:
    """Drops documents of fewer than `minimum` characters; always the last step."""

    def __init__(self, minimum: int) -> None:
        self.minimum = minimum

    def __call__(self, batch: Batch) -> None:
        """Drop the short ones among the living documents."""
        for row in batch.alive():
            if len(batch.texts[row].strip()) < self.minimum:
                reason = "too_short" if batch.texts[row].strip() else "empty"
                batch.drop(row, reason, len(batch.texts[row]))


def build_steps(params: Cleaning, names: list[str] | None = None) -> list[Step]:
    """The steps named (by default `params.steps`), ready to be called; UserError on a name that does not exist."""
    if shadowed := sorted(params.recipes.keys() & STEPS.keys()):
        raise UserError(f"cleaning.recipes.{shadowed[0]}: this is the name of a step; give the recipe another one")
    steps: list[Step] = [build_step(name, params) for name in (params.steps if names is None else names)]
    return [*steps, ShortStep(params.min_characters)]


def build_step(name: str, params: Cleaning) -> Step:
    """One step by its name."""
    if name in STEPS:
        return STEPS[name](params)
    rules = params.recipes.get(name) or built_in().get(name)
    if rules:
        from llm_core.corpus.cleaning.quality import QualityStep

        return QualityStep(name, rules, params.memo_entries, params.exempt, params.other_languages)
    raise UserError(f"cleaning.steps: there is no step or recipe '{name}' (there are {', '.join(known(params))})")


def known(params: Cleaning) -> list[str]:
    """Names that `cleaning.steps` may hold."""
    return [*STEPS, *recipes(params.recipes)]


def _extract(params: Cleaning) -> Step:
    from llm_core.corpus.cleaning.extraction import ExtractStep

    return ExtractStep(params.extraction)


def _repair(params: Cleaning) -> Step:
    from llm_core.corpus.cleaning.repair import RepairStep

    return RepairStep(params.repair)


def _language(params: Cleaning) -> Step:
    from llm_core.corpus.cleaning.language import LanguageStep

    return LanguageStep(params.language)


def _pii(params: Cleaning) -> Step:
    from llm_core.corpus.cleaning.pii import PiiStep

    return PiiStep(params.pii)


def _block_urls(params: Cleaning) -> Step:
    from llm_core.corpus.cleaning.blocklists import BlockUrlsStep

    return BlockUrlsStep(params.url_lists)


def _bad_words(params: Cleaning) -> Step:
    from llm_core.corpus.cleaning.blocklists import BadWordsStep

    return BadWordsStep(params.bad_words)


def _model(params: Cleaning) -> Step:
    from llm_core.corpus.cleaning.quality_model import ModelStep

    return ModelStep(params.quality_model, params.exempt)


STEPS: dict[str, Callable[[Cleaning], Step]] = {
    "extract": _extract,
    "repair": _repair,
    "language": _language,
    "pii": _pii,
    "block_urls": _block_urls,
    "bad_words": _bad_words,
    "model": _model,
}
