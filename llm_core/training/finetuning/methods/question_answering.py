"""Extractive question answering: the span of a context that answers a question, or that there is none.

Rows are SQuAD's (`data/answers.py`). Long contexts are read in windows behind the question, by the recipe of
transformers' `run_qa` (`span_answers.py`). Where training rows have questions without an answer, the threshold for
saying so is fitted on the held-out rows, and kept in the config with the lengths of windows. Reported: exact match and
F1 of SQuAD's script.
"""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of
from llm_core.params.finetuning import Data, Training
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.data.answers import from_places, from_search
from llm_core.training.finetuning.heads import Head, auto
from llm_core.training.finetuning.method import Figure, Layout, Method, Row

if TYPE_CHECKING:
    from llm_core.training.finetuning.data.factbook import Country, Facts
    from llm_core.training.finetuning.span_answers import Limits
    from llm_core.training.finetuning.training import Job

PASSAGE = 700  # characters of a default row's context
VALUE = 250  # characters of a field in it
UNANSWERED = 4  # one default question in so many is asked of a passage without its answer
SHOWN = 12  # test rows in samples.json


class QuestionAnswering(Training):
    """A start and an end for each token of a context."""

    window_overlap: int = Field(64, ge=0)
    """Tokens that two windows on one context share, where question and context are longer than max_length."""
    maximum_question: int = Field(64, ge=1)
    """Maximum number of tokens of a question; a longer one loses its end."""
    maximum_answer: int = Field(30, ge=1)
    """Maximum number of tokens of an answer."""


def has_places(raw: Row, data: Data) -> bool:
    """Whether a raw row has a question, a context and answers with their places."""
    answers = raw.get("answers")
    placed = isinstance(answers, dict) or (isinstance(answers, list) and all(isinstance(one, dict) for one in answers))
    return placed and "question" in raw and "context" in raw


def has_answer(raw: Row, data: Data) -> bool:
    """Whether a raw row has a question, a context and an answer that must be searched for."""
    return "question" in raw and "context" in raw and ("answer" in raw or "answers" in raw)


def convert_places(raw: Row, data: Data) -> Row:
    """A row of SQuAD as `question, context, answers`."""
    return from_places(raw.get("question"), raw.get("context"), raw.get("answers"), raw.get("is_impossible"))


def convert_search(raw: Row, data: Data) -> Row:
    """A row whose answer is searched for as `question, context, answers`."""
    return from_search(raw.get("question"), raw.get("context"), raw.get("answer", raw.get("answers")))


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """Questions about a country with fields of its section as context; one in four is asked of a passage without it."""
    from llm_core.training.finetuning.data.factbook import QUESTIONS

    rows: dict[str, list[Row]] = {}
    for country in facts.countries:
        rows[country.name] = []
        for name in (name for name in QUESTIONS if name in country.answers):
            generator = random.Random(f"{facts.seed}-{country.name}-{name}-passage")
            section = country.section_of(name)
            context, answer = _passage(country, section, name, generator), country.answers[name]
            answers: list[Row] | None
            if generator.randrange(UNANSWERED) == 0:
                context = "\n".join(line for line in context.split("\n") if not line.startswith(f"{name}: "))
                answers = [] if context and answer not in context else None
            else:
                start = context.find(answer, context.find(f"{name}: ") + len(name) + 2)
                answers = [{"text": answer, "start": start}] if start >= 0 else None
            if answers is None:
                continue  # the answer was cut off with the end of its field, or is said elsewhere in the passage
            made = {"country": country.name, "field": name, "documents": [country.section_documents[section]]}
            question = {"question": QUESTIONS[name][1].format(country=country.name), "context": context}
            rows[country.name].append(
                {"id": short_hash(country.name, name, "span"), **question, "answers": answers, **made}
            )
    return facts.by_side(rows)


def _passage(country: "Country", section: str, name: str, generator: random.Random) -> str:
    """Lines `field: value` of a section in their order, the field `name` among them, of some PASSAGE characters."""
    fields = list(country.fields[section].items())
    at = next(place for place, (field, _) in enumerate(fields) if field == name)
    first = max(0, at - generator.randrange(6))
    lines: list[str] = []
    for place in range(first, len(fields)):
        if place > at and sum(map(len, lines)) > PASSAGE:
            break
        field, value = fields[place]
        lines.append(f"{field}: {value[:VALUE]}")
    return "\n".join(lines)


def limits_of(params: Any) -> "Limits":
    """How long windows, questions and answers of a run may be."""
    from llm_core.training.finetuning.span_answers import Limits

    return Limits(params.max_length, params.window_overlap, params.maximum_question, params.maximum_answer)


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    import torch
    from datasets import Dataset
    from transformers import Trainer

    from llm_core.training.finetuning.rows import names as names_of
    from llm_core.training.finetuning.span_answers import Asked, encode, inputs
    from llm_core.training.finetuning.training import collated_arguments, train

    asked: list[Asked] = []
    used: dict[str, int] = {}
    data = {}
    for side in ("train", "heldout"):
        rows, start = job.rows[side], len(asked)
        found, cut = encode(job.tokenizer, rows, job.kind, limits_of(job.params))
        targets = [one.target(next(iter(rows[one.row]["answers"]), None)) for one in found]
        data[side] = Dataset.from_list([{"at": start + at, "labels": list(ends)} for at, ends in enumerate(targets)])
        asked += found
        held = {one.row for one, (first, _) in zip(found, targets, strict=True) if first != one.nowhere}
        answerable = sum(bool(row["answers"]) for row in rows)
        used |= {f"{side}_rows": len(rows), f"{side}_windows": len(found), f"{side}_questions_cut": cut}
        used |= {f"{side}_answers_in_no_window": answerable - len(held)}
        if side == "train" and not held:
            raise UserError("question_answering: no window holds an answer; raise max_length or window_overlap")
    model = job.adapt(job.load_base())

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        labels = torch.tensor([row["labels"] for row in rows], device="cpu")  # the trainer moves it
        return {
            **inputs(model, [asked[row["at"]] for row in rows], job.tokenizer.pad_token_id, "cpu"),
            "labels": labels,
        }

    def loss_of(outputs: Any, targets: Any, num_items_in_batch: Any = None) -> Any:
        logits = torch.stack([outputs.start_logits, outputs.end_logits], 1).float().flatten(0, 1)  # [2 B, T]
        loss = torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum")
        return loss / (num_items_in_batch if num_items_in_batch is not None else targets.numel())

    trainer = Trainer(
        model,
        args=collated_arguments(job, len(data["train"])),
        train_dataset=data["train"],
        eval_dataset=data["heldout"],
        data_collator=collate,
        processing_class=job.tokenizer,
        compute_loss_func=loss_of,
    )
    ids = names_of(job.rows["train"])
    return {**train(job, trainer, [ids[one.row] for one in asked[: len(data["train"])]]), "data": used}


def answers_of(row: Row) -> list[str]:
    """The right answers of a prepared row."""
    return [answer["text"] for answer in row["answers"]]


def threshold_of(job: "Job", model: Any) -> float | None:
    """The threshold above which no answer is given, by F1 on held-out rows; None where training never has none."""
    from llm_core.evaluation.squad_metrics import best_threshold, f1
    from llm_core.training.finetuning.span_answers import predict

    if all(row["answers"] for row in job.rows["train"]):
        return None
    rows = job.rows["heldout"]
    found = predict(model, job.tokenizer, rows, job.kind, limits_of(job.params))
    scores = [f1(one.text, answers_of(row)) for one, row in zip(found, rows, strict=True)]
    return best_threshold([one.difference for one in found], scores, [bool(row["answers"]) for row in rows])


def figures_of(job: "Job", said: list[str]) -> dict[str, Any]:
    """Exact match and F1 of answers to the test rows, and F1 of those with and without an answer."""
    from llm_core.evaluation.squad_metrics import exact_match, f1
    from llm_core.training.finetuning.scoring import mean_and_error

    rows = job.rows["test"]
    scores = {
        name: [measure(one, answers_of(row)) for one, row in zip(said, rows, strict=True)]
        for name, measure in (("exact_match", exact_match), ("f1", f1))
    }
    groups = groups_of(rows)
    figures: dict[str, Any] = {name: mean_and_error(values, groups) for name, values in scores.items()}
    for name, answerable in (("answerable_f1", True), ("unanswerable_f1", False)):
        part = [one for one in zip(scores["f1"], rows, strict=True) if bool(one[1]["answers"]) == answerable]
        if part:
            figures[name] = mean_and_error([value for value, _ in part], groups_of([row for _, row in part]))
    return figures | {"items": scores}


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """Exact match and F1 on the test rows, with the threshold of the held-out rows."""
    from llm_core.training.finetuning.span_answers import decide, predict

    threshold = threshold_of(job, model)
    found = predict(model, job.tokenizer, job.rows["test"], job.kind, limits_of(job.params))
    said = [decide(one, threshold) for one in found]
    samples = [
        {
            "prompt": f"{row['context']}\n{row['question']}",
            "answer": one or "no answer",
            "right_answer": " / ".join(answers_of(row)) or "no answer",
        }
        for row, one in zip(job.rows["test"][:SHOWN], said, strict=False)
    ]
    limit = {} if threshold is None else {"threshold": threshold}
    return figures_of(job, said) | limit | {"samples": samples}


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rises with their sign tests; lengths and threshold go into the config."""
    from dataclasses import asdict

    from llm_core.training.finetuning.scoring import paired

    model.config.answering = asdict(limits_of(job.params)) | {"threshold": figures["after"].get("threshold")}
    model.config.save_pretrained(folder)
    before, after = figures["before"]["items"], figures["after"]["items"]
    groups = groups_of(job.rows["test"])
    return {f"{name}_change": paired(before[name], after[name], groups) for name in after}


def baseline(job: "Job") -> dict[str, Any]:
    """No answer, and two ways to choose a sentence of the context."""
    from llm_core.training.finetuning.sentence_baselines import overlapping_sentence, weighted_sentences

    rows = job.rows["test"]
    said = {
        "no_answer": [""] * len(rows),
        "overlap_sentence": [overlapping_sentence(row) for row in rows],
        "tfidf_sentence": weighted_sentences(job.rows["train"], rows),
    }
    return {name: figures_of(job, one) for name, one in said.items()}


METHOD = Method(
    help="A reader that marks the answer to a question in a text, or says that there is none.",
    params=QuestionAnswering,
    fields=("question", "context", "answers"),
    kinds=("decoder", "encoder", "encoder-decoder"),
    why_not="a reader needs a state for each token",
    layouts={
        "squad": Layout("question, context, answers (text and answer_start)", has_places, convert_places),
        "search": Layout("question, context, answer (a text that is in the context)", has_answer, convert_search),
    },
    finetune=finetune,
    measure=measure,
    head=Head("question answering", auto("AutoModelForQuestionAnswering"), lambda kind: "QUESTION_ANS", fresh=True),
    finish=finish,
    baseline=baseline,
    default_rows=default_rows,
    compared=lambda row: f"{row['question']}\n{row['context']}",
    chat=False,
    loss="nats per end of an answer",
    score="f1",
    figures={
        "exact_match": Figure("answers that match exactly"),
        "f1": Figure("F1 of the words of answers"),
        "answerable_f1": Figure("F1 of questions with an answer"),
        "unanswerable_f1": Figure("F1 of questions without an answer"),
        "threshold": Figure("threshold above which no answer is given"),
        "no_answer": Figure("no answer to any question"),
        "overlap_sentence": Figure("sentence with the most words of the question"),
        "tfidf_sentence": Figure("sentence nearest to the question by TF-IDF"),
    },
    use="answer --model {model} --context FILE",
)
