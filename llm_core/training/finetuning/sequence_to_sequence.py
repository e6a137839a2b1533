"""From a source text to a target text: what translation and summarization share.

A row is `source, target`. An encoder-decoder (T5) reads the prompt, which is the source in the run's template, and
writes the target; a decoder gets the same prompt as a user's message in its chat template and answers. Training is that
of `instruction`, whose loss is on the target alone. The template is kept in the model's config as
`source_prompt` (and `source_tokens`), so
that `llm-core rewrite` asks as training did.

Scores are those of the reference packages (sacrebleu, rouge-score) with bootstrap intervals over the rows:
`evaluation/text_metrics.py`.
"""

import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from llm_core.evaluation.results import groups_of
from llm_core.training.finetuning.method import Messages, Row
from llm_core.training.finetuning.methods.instruction import METHOD as INSTRUCTION
from llm_core.training.finetuning.methods.instruction import Instruction

if TYPE_CHECKING:
    from llm_core.training.finetuning.training import Job

Kind = Literal["translation", "summarization"]
SAMPLES = 12


class SequenceToSequence(Instruction):
    """Knobs of a method from texts to texts."""

    prompt: str = "{source}"
    """The model's prompt, in which `{source}` is replaced by the source text. T5 was trained with prefixes such as
    `translate English to German: {source}`. The model's config keeps it, and `llm-core rewrite` uses it."""
    source_tokens: int | None = Field(None, ge=1)
    """Maximum length of the source, in tokens: its end is cut, in training, in the scores and in `llm-core rewrite`.
    null cuts nothing, and a row over max_length is treated as `too_long` says."""
    scored_items: int = Field(300, ge=2)
    """Number of test rows that are written before and after training, for the scores."""
    max_new_tokens: int = Field(64, ge=1)
    """Maximum length of a written target, in tokens."""

    @field_validator("prompt")
    @classmethod
    def _has_one_source(cls, value: str) -> str:
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(value) if name is not None]
        except ValueError as error:
            raise ValueError(f"no template ({error}); braces that are text are written twice") from None
        if fields != ["source"]:
            raise ValueError("the template needs the field source in braces once, and no other field")
        return value


def question(tokenizer: Any, source: str, prompt: str, source_tokens: int | None) -> Messages:
    """The conversation that asks for the target of `source`, which loses its end beyond `source_tokens`."""
    if source_tokens is not None:
        ids = tokenizer(source, add_special_tokens=False, verbose=False)["input_ids"]
        source = source if len(ids) <= source_tokens else tokenizer.decode(ids[:source_tokens])
    return [{"role": "user", "content": prompt.format(source=source)}]


def asked(job: "Job", row: Row) -> Messages:
    """The conversation that asks for the target of `row`."""
    return question(job.tokenizer, row["source"], job.params.prompt, job.params.source_tokens)


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""

    def conversation(row: Row) -> Row:
        return {**row, "messages": [*asked(job, row), {"role": "assistant", "content": row["target"]}]}

    rows = {side: [conversation(row) for row in rows] for side, rows in job.rows.items()}
    return INSTRUCTION.finetune(replace(job, rows=rows))


def measure(kind: Kind, score: str, job: "Job", model: Any) -> dict[str, Any]:
    """Scores of what the model writes for the test rows, each with its interval; `score` by row in `items`."""
    from llm_core.training.finetuning.scoring import generate

    rows = tested(job)
    written = generate(model, job.tokenizer, [asked(job, row) for row in rows], job.params.max_new_tokens)
    texts = [text for text, _ in written]
    return {
        **figures(kind, texts, rows, job.seed),
        "stopped_by_itself": sum(stopped for _, stopped in written) / len(written),
        "items": {score: row_scores(kind, texts, rows)},
        "samples": [
            {"prompt": row["source"], "answer": text, "right_answer": row["target"]}
            for row, text in list(zip(rows, texts, strict=True))[:SAMPLES]
        ],
    }


def tested(job: "Job") -> list[Row]:
    """The test rows that are scored, drawn by the seed."""
    from llm_core.training.finetuning.scoring import sample_rows

    return sample_rows(job.rows["test"], job.params.scored_items, job.seed)


def figures(kind: Kind, texts: Sequence[str], rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """Metric -> value of the reference package, bootstrap interval and standard error; and the mean score of a row."""
    from llm_core.evaluation.text_metrics import compare_systems
    from llm_core.params.evaluation import TextMetrics
    from llm_core.training.finetuning.scoring import mean_and_error

    references = [row["target"] for row in rows]
    found = compare_systems(kind, {"model": list(texts)}, [references], TextMetrics(), seed, groups_of(rows))["scores"][
        "model"
    ]
    scores: dict[str, Any] = {
        name: {"value": one["value"], "low": one["low"], "high": one["high"], "standard_error": one["stderr"]}
        for name, one in found.items()
    }
    if kind == "translation":
        scores["sentence_chrF"] = mean_and_error(row_scores(kind, texts, rows), groups_of(rows), top=100.0)
    return scores


def row_scores(kind: Kind, texts: Sequence[str], rows: Sequence[Row]) -> list[float]:
    """The score of each row: chrF of the sentence (0 to 100), or the F measure of ROUGE-L (0 to 1)."""
    pairs = list(zip(texts, (row["target"] for row in rows), strict=True))
    if kind == "translation":
        from sacrebleu.metrics import CHRF

        metric = CHRF()
        return [metric.sentence_score(text, [wanted]).score for text, wanted in pairs]
    from llm_core.evaluation.text_metrics import measure as measured
    from llm_core.params.evaluation import TextMetrics

    params = TextMetrics(rouge=["rougeL"])
    found = measured(kind, [text for text, _ in pairs], [[wanted for _, wanted in pairs]], params)["rougeL"]
    return found.statistics[:, 0].tolist()


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rise of the rows' score with its sign test; the template goes into the model's config."""
    from llm_core.training.finetuning.scoring import paired

    model.config.source_prompt, model.config.source_tokens = job.params.prompt, job.params.source_tokens
    model.config.save_pretrained(folder)
    before, after = figures["before"]["items"], figures["after"]["items"]
    return {f"{name}_change": paired(before[name], after[name], groups_of(tested(job))) for name in after}
