"""Token classification: a tag for each word of a text, by which named entities are found.

Rows are tagged words (CoNLL columns, or lists of tokens and tags) or texts with spans of characters (`entities.py`).
Texts longer than `max_length` are read in windows that overlap, so nothing is cut. Reported: precision, recall and F1
of whole entities, as seqeval computes them, and the share of found entities that no training row names.
"""

import csv
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of
from llm_core.params.finetuning import Data, Training
from llm_core.runtime.digests import short_hash
from llm_core.runtime.progress import log
from llm_core.training.finetuning.data.entities import entities, from_spans, from_words, settle_scheme
from llm_core.training.finetuning.heads import Head, auto, numbered
from llm_core.training.finetuning.method import Figure, Layout, Method, Row, first, text

if TYPE_CHECKING:
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.training import Job

TEXT_FIELDS = ("text", "sentence", "content", "data")
SPAN_FIELDS = ("entities", "spans", "labels", "label")
TOKEN_FIELDS = ("tokens", "words")
TAG_FIELDS = ("tags", "ner_tags", "labels")
SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=[A-Z])")
SENTENCES = 6  # default rows with a name that a section gives, at most; and half as many without one
SHOWN = 12  # test rows in samples.json


class TokenClassification(Training):
    """A softmax head on one token of each word."""

    window_overlap: int = Field(32, ge=0)
    """Tokens that two windows on one text share, where it is longer than max_length."""


def has_words(raw: Row, data: Data) -> bool:
    """Whether a raw row has tokens and their tags."""
    return all(isinstance(first(raw, usual), list) for usual in (TOKEN_FIELDS, TAG_FIELDS))


def has_spans(raw: Row, data: Data) -> bool:
    """Whether a raw row has a text and a list of entities."""
    return isinstance(first(raw, TEXT_FIELDS), str) and isinstance(first(raw, SPAN_FIELDS), list)


def convert_words(raw: Row, data: Data) -> Row:
    """A row of tokens and tags as `text, words, tags`."""
    return from_words(first(raw, TOKEN_FIELDS), first(raw, TAG_FIELDS))


def convert_spans(raw: Row, data: Data) -> Row:
    """A row of a text and entities as `text, words, tags`."""
    return from_spans(text(first(raw, TEXT_FIELDS), "text"), first(raw, SPAN_FIELDS))


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """Sentences about a country with its places and peoples, which are found by name; see `Facts.names`.

    The labels are silver: a name means what the Factbook's list says wherever it is written.
    """
    names = facts.names()
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?!\w)")
    rows: dict[str, list[Row]] = {}
    for country in facts.countries:
        rows[country.name] = []
        for section, values in sorted(country.sections.items()):
            sentences = [part for value in values for part in SENTENCE.split(value) if 30 < len(part) <= 400]
            random.Random(f"{facts.seed}-{country.name}-{section}").shuffle(sentences)
            room = {True: SENTENCES, False: SENTENCES // 2}
            for number, sentence in enumerate(dict.fromkeys(sentences)):
                spans = [(*match.span(), names[match[0]]) for match in pattern.finditer(sentence)]
                room[bool(spans)] -= 1
                if room[bool(spans)] < 0:
                    continue
                made = {"country": country.name, "documents": [country.section_documents[section]]}
                key = short_hash(country.name, section, str(number))
                rows[country.name].append({"id": key, **from_spans(sentence, spans), **made})
    return facts.by_side(rows)


def types_of(rows: list[Row]) -> set[str]:
    """The types of the entities of prepared rows."""
    return {tag[2:] for row in rows for tag in row["tags"] if tag != "O"}


def labels(job: "Job") -> list[str]:
    """`O`, and B- and I- of each type of entity in training. Raises UserError where no training row has an entity."""
    known = types_of(job.rows["train"])
    if not known:
        raise UserError("token_classification: no training row has an entity")
    return ["O", *(f"{prefix}-{label}" for label in sorted(known) for prefix in "BI")]


def words_of(row: Row) -> list[str]:
    """The words of a prepared row."""
    return [row["text"][start:end] for start, end in row["words"]]


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from llm_core.training.finetuning.conversation import IGNORED
    from llm_core.training.finetuning.heldout_loss import by_targets
    from llm_core.training.finetuning.rows import names as names_of
    from llm_core.training.finetuning.scoring import mean_token_loss, padded
    from llm_core.training.finetuning.tagging import encode
    from llm_core.training.finetuning.training import arguments, train

    number = {tag: at for at, tag in enumerate(labels(job))}
    if strange := sorted(types_of(job.rows["heldout"] + job.rows["test"]) - types_of(job.rows["train"])):
        log(f"finetune: no training row has an entity of the type {', '.join(strange)}, so none will be found")
    data: dict[str, Any] = {}
    used: dict[str, int] = {}
    order: dict[str, list[str]] = {}
    for side in ("train", "heldout"):
        rows = job.rows[side]
        encoded = encode(job.tokenizer, rows, job.kind, job.params.max_length, job.params.window_overlap)
        examples = []
        for one in encoded:
            target = [IGNORED] * len(one.window.input_ids)
            for tag, place in zip(rows[one.row]["tags"], one.places, strict=True):
                if place is not None:
                    target[place] = number.get(tag, IGNORED)  # a type that training lacks
            examples.append({"input_ids": one.window.input_ids, "labels": target})
        data[side] = Dataset.from_list(examples)
        ids = names_of(rows)
        order[side] = [ids[one.row] for one in encoded]
        used |= {f"{side}_rows": len(rows), f"{side}_windows": len(encoded)}

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        ids, mask, targets = padded(rows, job.tokenizer.pad_token_id, "cpu")  # the trainer moves it
        return {"input_ids": ids, "attention_mask": mask, "labels": targets}

    targets = [sum(label != IGNORED for label in row["labels"]) for row in data["heldout"]]
    trainer = by_targets(Trainer, targets)(
        job.adapt(job.load_base()),
        args=TrainingArguments(**arguments(job, len(data["train"]))),
        train_dataset=data["train"],
        eval_dataset=data["heldout"],
        data_collator=collate,
        processing_class=job.tokenizer,
        compute_loss_func=mean_token_loss,
    )
    return {**train(job, trainer, order["train"]), "data": used}


def decide(job: "Job", model: Any, rows: list[Row]) -> list[list[str]]:
    """The likeliest tag of each word of `rows`."""
    from llm_core.training.finetuning.tagging import predict

    tags = labels(job)
    params = job.params
    found = predict(model, job.tokenizer, rows, job.kind, params.max_length, params.window_overlap)
    return [[tags[at] for at in shares.argmax(1)] for shares in found]


def figures_of(job: "Job", decided: list[list[str]]) -> dict[str, Any]:
    """The figures of tags for the test rows."""
    from llm_core.training.finetuning.entity_metrics import entity_figures, named, unseen_recall

    rows = job.rows["test"]
    truth, words = [row["tags"] for row in rows], [words_of(row) for row in rows]
    known = {named(words_of(row), one) for row in job.rows["train"] for one in entities(row["tags"])}
    groups = groups_of(rows)
    unseen = unseen_recall(words, truth, decided, known, groups)
    return entity_figures(truth, decided, job.seed, groups) | {"unseen_recall": unseen}


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """Precision, recall and F1 of the entities of the test rows, with 95 % bootstrap intervals."""
    decided = decide(job, model, job.rows["test"])
    samples = [
        {"prompt": row["text"], "answer": _listed(row, tags), "right_answer": _listed(row, row["tags"])}
        for row, tags in zip(job.rows["test"][:SHOWN], decided, strict=False)
    ]
    return figures_of(job, decided) | {"samples": samples}


def _listed(row: Row, tags: list[str]) -> str:
    words = row["words"]
    found = [f"{label}: {row['text'][words[one][0] : words[last][1]]}" for label, one, last in entities(tags)]
    return "; ".join(found) or "none"


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rise in F1 by row with its sign test; `per_label.csv`, the figures of each type of entity."""
    from llm_core.training.finetuning.entity_metrics import label_table
    from llm_core.training.finetuning.scoring import paired

    truth, groups = [row["tags"] for row in job.rows["test"]], groups_of(job.rows["test"])
    table = label_table(truth, decide(job, model, job.rows["test"]))
    with open(folder / "per_label.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["entity", "precision", "recall", "f1", "entities"])
        writer.writeheader()
        writer.writerows(table)
    model.config.tagging_window = {"length": job.params.max_length, "overlap": job.params.window_overlap}
    model.config.save_pretrained(folder)
    change = paired(figures["before"]["items"]["row_f1"], figures["after"]["items"]["row_f1"], groups)
    return {"row_f1_change": change, "labels": len(table)}


def baseline(job: "Job") -> dict[str, Any]:
    """A dictionary of the words' most frequent tags, and a linear model of words."""
    from llm_core.training.finetuning.word_baselines import linear_tags, most_frequent_tags

    train, test = ([words_of(row) for row in job.rows[side]] for side in ("train", "test"))
    tags = [row["tags"] for row in job.rows["train"]]
    found = {
        "most_frequent_tag": most_frequent_tags(train, tags, test),
        "linear": linear_tags(train, tags, test, job.seed),
    }
    return {name: figures_of(job, decided) for name, decided in found.items()}


METHOD = Method(
    help="A tagger that finds named entities: a softmax head on each word.",
    params=TokenClassification,
    fields=("text", "words", "tags"),
    kinds=("decoder", "encoder", "encoder-decoder"),
    why_not="a tagger needs a state for each token",
    layouts={
        "words": Layout("tokens, tags (lists of one length; a CoNLL file has both)", has_words, convert_words),
        "spans": Layout("text, entities (a list of start, end, label)", has_spans, convert_spans),
    },
    finetune=finetune,
    measure=measure,
    head=Head(
        "token classification", auto("AutoModelForTokenClassification"), lambda kind: "TOKEN_CLS", True, numbered
    ),
    labels=labels,
    finish=finish,
    baseline=baseline,
    default_rows=default_rows,
    arrange=settle_scheme,
    compared=lambda row: str(row["text"]),
    chat=False,
    loss="nats per word",
    score="row_f1",
    figures={
        "f1": Figure("F1 of entities, 95 % bootstrap interval"),
        "precision": Figure("precision of entities, 95 % bootstrap interval"),
        "recall": Figure("recall of entities, 95 % bootstrap interval"),
        "row_f1": Figure("F1 of a row's entities, mean over rows"),
        "word_accuracy": Figure("words with the right tag"),
        "unseen_recall": Figure("recall of entities that no training row names"),
        "labels": Figure("types of entity"),
        "most_frequent_tag": Figure("each word's most frequent tag in training"),
        "linear": Figure("linear model of words"),
    },
    use="tag --model {model}",
)
