"""Summarization: from a text to a shorter one that says what matters in it.

Reported: ROUGE of rouge-score over the test rows with bootstrap intervals, beside the text's first sentences, which are
hard to beat on news, and the whole text. Without data of your own the rows are facts about a country in any order, from
the World Factbook, and a statement of the four that matter: a task for small models, in which the first sentences say
nothing of the rest.
"""

import random
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from llm_core.kernels.sentences import sentences
from llm_core.training.finetuning.data.layouts import source_and_target
from llm_core.training.finetuning.method import Figure, Method, Row
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
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.training import Job

SOURCE_FIELDS = ("source", "document", "article", "dialogue", "text")
TARGET_FIELDS = ("target", "summary", "highlights", "abstract", "title")
STATED = ("Government type", "Map references", "Capital - name", "Languages")  # what a default summary says
OTHERS = 5  # facts of a default text beside the stated ones
VARIANTS = 4  # texts of a country


class Summarization(SequenceToSequence):
    """From a text to its summary."""

    prompt: str = "summarize: {source}"
    """The model's prompt, in which `{source}` is replaced by the text. T5 was trained with `summarize: {source}`. The
    model's config keeps it, and `llm-core rewrite` uses it."""
    lead_sentences: int = Field(3, ge=1)
    """The baseline: so many sentences from the beginning of the text."""


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """Rows `source, target`: facts about a country in any order, and a statement of those of them in STATED."""
    from llm_core.runtime.digests import short_hash
    from llm_core.training.finetuning.data.factbook import QUESTIONS

    rows: dict[str, list[Row]] = {}
    for country in facts.countries:
        rows[country.name] = []
        stated = [name for name in STATED if name in country.answers]
        others = [name for name in QUESTIONS if name in country.answers and name not in STATED]
        if len(stated) < 2:
            continue
        for variant in range(VARIANTS):
            key = short_hash("summarization", country.name, str(variant))
            generator = random.Random(f"{facts.seed}-{key}")
            shown = [*stated, *generator.sample(others, min(OTHERS, len(others)))]
            documents = sorted({country.answer_documents[name] for name in shown})
            lines = ["Country: " + country.name, *(f"{QUESTIONS[name][0]}: {country.answers[name]}" for name in shown)]
            generator.shuffle(lines)
            said = "; ".join(country.answers[name] for name in stated)
            row = {"source": "".join(f"{line}.\n" for line in lines).rstrip(), "target": f"{country.name}: {said}."}
            rows[country.name].append({"id": key, **row, "country": country.name, "documents": documents})
    return facts.by_side(rows)


def lead(text: str, count: int) -> str:
    """The first sentences of a text, each on a line.

    >>> lead("It rained. It poured! Nobody came.", 2)
    'It rained.\\nIt poured!'
    """
    return "\n".join(sentences(text)[:count])


def baseline(job: "Job") -> dict[str, Any]:
    """The same scores of the text's first sentences, and of the whole text."""
    rows = tested(job)
    sources = [row["source"] for row in rows]
    leads = [lead(source, job.params.lead_sentences) for source in sources]
    return {
        "first_sentences": figures("summarization", leads, rows, job.seed),
        "copy_of_source": figures("summarization", sources, rows, job.seed),
    }


METHOD = Method(
    help="From a text to its summary: ROUGE; encoder-decoders and decoders.",
    params=Summarization,
    fields=("source", "target"),
    kinds=("decoder", "encoder-decoder"),
    why_not="an encoder does not generate text",
    layouts={"summarization": source_and_target(SOURCE_FIELDS, TARGET_FIELDS)},
    finetune=finetune,
    measure=partial(measure, "summarization", "rougeL"),
    finish=finish,
    baseline=baseline,
    default_rows=default_rows,
    compared=lambda row: str(row["source"]),
    asked=asked,
    minimum={"train": 1, "heldout": 1, "test": 2},
    figures={
        "rouge1": Figure("ROUGE-1, F measure, 95 % bootstrap interval"),
        "rouge2": Figure("ROUGE-2, F measure, 95 % bootstrap interval"),
        "rougeL": Figure("ROUGE-L, F measure, 95 % bootstrap interval"),
        "rougeLsum": Figure("ROUGE-Lsum, F measure, 95 % bootstrap interval"),
        "stopped_by_itself": Figure("summaries that ended with the end token"),
        "first_sentences": Figure("the text's first sentences"),
        "copy_of_source": Figure("the whole text"),
    },
    score="rougeL",
    use="rewrite --model {model}",
)
