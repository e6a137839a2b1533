"""Translation: from a text to the same in another language, dialect or spelling.

Reported: BLEU and chrF of sacrebleu over the test rows with bootstrap intervals, beside a copy of the source and a
translation word by word (`word_translation.py`). Without data of your own the rows are lines of the First Folio (1623)
and of a modern edition of Shakespeare (`data/editions.py`).
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.params.finetuning import Data
from llm_core.training.finetuning.data.layouts import source_and_target
from llm_core.training.finetuning.method import Figure, Layout, Method, Row, text
from llm_core.training.finetuning.sequence_to_sequence import (
    SequenceToSequence,
    asked,
    figures,
    finetune,
    finish,
    measure,
    tested,
)

if TYPE_CHECKING:
    from llm_core.training.finetuning.training import Job

SOURCE_FIELDS = ("source", "src", "input", "original")
TARGET_FIELDS = ("target", "tgt", "translation", "output", "modern")
PAIRS_READ = 20_000  # training rows from which the dictionary is learned; more change it little and take longer


def _languages(reverse: bool) -> Layout:
    """Rows of OPUS and WMT: `translation: {de: …, en: …}`, from the first language to the second, or the reverse."""

    def convert(raw: Row, data: Data) -> Row:
        names = list(raw["translation"])
        if len(names) != 2:
            raise ValueError(f"field 'translation' has {len(names)} languages; a row has two")
        source, target = reversed(names) if reverse else names
        return {
            "source": text(raw["translation"][source], f"translation.{source}"),
            "target": text(raw["translation"][target], f"translation.{target}"),
        }

    order = "second to the first" if reverse else "first to the second"
    return Layout(
        f"translation: two texts by language, from the {order}",
        lambda raw, data: isinstance(raw.get("translation"), dict),
        convert,
    )


class Translation(SequenceToSequence):
    """From a text to its translation."""

    prompt: str = "translate: {source}"
    """The model's prompt, in which `{source}` is replaced by the source text. T5 was trained with prefixes such as
    `translate English to German: {source}`. The model's config keeps it, and `llm-core rewrite` uses it."""


def document_rows(folder: Path, data: Data, seed: int) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """Rows by side and their counts: lines of the First Folio and of a modern edition."""
    from llm_core.training.finetuning.data.editions import rows_of_editions

    return rows_of_editions(folder, data)


def baseline(job: "Job") -> dict[str, Any]:
    """The same scores of a copy of the source, and of a translation word by word."""
    from llm_core.training.finetuning.scoring import sample_rows
    from llm_core.training.finetuning.word_translation import dictionary, translate

    rows, read = tested(job), sample_rows(job.rows["train"], PAIRS_READ, job.seed)
    words = dictionary([row["source"] for row in read], [row["target"] for row in read])
    copied = [row["source"] for row in rows]
    translated = [translate(source, words) for source in copied]
    return {
        "copy_of_source": figures("translation", copied, rows, job.seed),
        "word_by_word": figures("translation", translated, rows, job.seed),
    }


METHOD = Method(
    help="From a text to its translation: BLEU and chrF; encoder-decoders and decoders.",
    params=Translation,
    fields=("source", "target"),
    kinds=("decoder", "encoder-decoder"),
    why_not="an encoder does not generate text",
    layouts={
        "translation": source_and_target(SOURCE_FIELDS, TARGET_FIELDS),
        "languages": _languages(reverse=False),
        "languages_reversed": _languages(reverse=True),
    },
    finetune=finetune,
    measure=partial(measure, "translation", "sentence_chrF"),
    finish=finish,
    baseline=baseline,
    document_rows=document_rows,
    compared=lambda row: str(row["source"]),
    asked=asked,
    minimum={"train": 1, "heldout": 1, "test": 2},
    figures={
        "BLEU": Figure("BLEU of all test rows, 95 % bootstrap interval", "0 to 100"),
        "chrF": Figure("chrF of all test rows, 95 % bootstrap interval", "0 to 100"),
        "sentence_chrF": Figure("chrF of a row, mean", "0 to 100"),
        "stopped_by_itself": Figure("translations that ended with the end token"),
        "copy_of_source": Figure("a copy of the source"),
        "word_by_word": Figure("word by word, by a dictionary of IBM model 1"),
    },
    score="sentence_chrF",
    use="rewrite --model {model}",
)
