"""Text classification: a softmax head on an encoder, decoder or encoder-decoder, with calibrated confidence.

The confidence is calibrated by one temperature that is fitted on the held-out rows and kept in the config as
`classification_temperature`. It changes no decision. Reported: accuracy and macro-F1 with intervals, also of the most
frequent label and of logistic regression over TF-IDF features; expected calibration error, confusion matrix,
reliability.
"""

import csv
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of
from llm_core.params.finetuning import Data, Training
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.data.labels import label_of
from llm_core.training.finetuning.heads import CLASSIFICATION
from llm_core.training.finetuning.method import Figure, Layout, Method, Row, excerpt, first, text

if TYPE_CHECKING:
    from llm_core.models.loading import LoadedModel
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.training import Job

TEXT_FIELDS = ("text", "sentence", "content", "review", "message", "sms")
LABEL_FIELDS = ("label", "category", "class", "topic", "section", "intent", "sentiment")
EXCERPT = 240  # characters of a default row's text


class Classification(Training):
    """A softmax head on the last token (decoders) or the first (encoders)."""

    class_weights: Literal["none", "balanced"] = "balanced"
    """Weights of the classes in the loss; balanced weighs each class by the inverse of its frequency."""


def has_fields(raw: Row, data: Data) -> bool:
    """Whether a raw row has a text and a label."""
    return all(any(key in raw for key in usual) for usual in (TEXT_FIELDS, LABEL_FIELDS))


def convert(raw: Row, data: Data) -> Row:
    """A raw row as `text, label`."""
    return {"text": text(first(raw, TEXT_FIELDS), "text"), "label": label_of(first(raw, LABEL_FIELDS), "label")}


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """Rows `text, label`: a passage of a country's section, without its headings, and the section's name."""
    rows: dict[str, list[Row]] = {}
    for country in facts.countries:
        rows[country.name] = []
        for section, values in sorted(country.sections.items()):
            pieces = [value for value in values if len(value) > 30]
            random.Random(f"{facts.seed}-{country.name}-{section}").shuffle(pieces)
            for number, piece in enumerate(pieces[:3]):
                key = short_hash(country.name, section, str(number))
                shown = excerpt(piece, EXCERPT)
                made = {"country": country.name, "documents": [country.section_documents[section]]}
                rows[country.name].append({"id": key, "text": shown, "label": section, **made})
    return facts.by_side(rows)


def labels(job: "Job") -> list[str]:
    """The training rows' labels, sorted; UserError names one that occurs only elsewhere."""
    known = sorted({row["label"] for row in job.rows["train"]})
    for side in ("heldout", "test"):
        for number, row in enumerate(job.rows[side], 1):
            if row["label"] not in known:
                raise UserError(
                    f"{side}.jsonl:{number}: label '{row['label']}' does not occur in training (there: "
                    f"{', '.join(known[:12])})"
                )
    if len(known) < 2:
        raise UserError(f"{job.method} needs two labels; the training rows have only '{known[0]}'")
    return known


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    import torch

    from llm_core.training.finetuning.sequence_heads import train_head

    names, number = labels(job), numbers(job)
    counts = Counter(number["train"].tolist())
    balanced = job.params.class_weights == "balanced"
    weights = torch.tensor(
        [len(number["train"]) / (len(names) * counts[at]) if balanced else 1.0 for at in range(len(names))],
        device="cpu",
    )

    def weighted(logits: Any, targets: Any) -> Any:
        return torch.nn.functional.cross_entropy(logits, targets, weights.to(logits.device), reduction="sum")

    return train_head(job, {side: found.tolist() for side, found in number.items()}, weighted)


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """Accuracy and macro-F1 on the test rows, with 95 % intervals."""
    from llm_core.training.finetuning.calibration import label_figures, predict
    from llm_core.training.finetuning.sequence_heads import encode

    truth = numbers(job)["test"]
    decided = predict(model, encode(job, "test")[0], job.tokenizer.pad_token_id).argmax(1)
    right = (decided == truth).astype(float).tolist()
    return {**label_figures(truth, decided, job.seed, groups_of(job.rows["test"])), "items": {"accuracy": right}}


def baseline(job: "Job") -> dict[str, Any]:
    """The figures of the most frequent label, and of logistic regression over TF-IDF features."""
    from llm_core.training.finetuning.baselines import classify_linearly, features_of, most_frequent
    from llm_core.training.finetuning.calibration import label_figures

    truth = numbers(job)
    decided = {
        "most_frequent_label": most_frequent(truth["train"], len(truth["test"])),
        "tfidf_logistic_regression": classify_linearly(
            features_of(job.rows), truth, job.params.class_weights == "balanced"
        ),
    }
    groups = groups_of(job.rows["test"])
    return {name: label_figures(truth["test"], answers, job.seed, groups) for name, answers in decided.items()}


def numbers(job: "Job") -> dict[str, Any]:
    """Side -> the number of each row's label, int64 (rows,)."""
    import numpy as np

    number = {name: at for at, name in enumerate(labels(job))}
    return {side: np.array([number[row["label"]] for row in rows], np.int64) for side, rows in job.rows.items()}


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Calibrate on held-out rows; write confusion.csv, reliability.csv and reliability.png, and the temperature."""
    from llm_core.training.finetuning.calibration import (
        fit_temperature,
        plot_reliability,
        predict,
        reliability,
        softmax,
    )
    from llm_core.training.finetuning.sequence_heads import encode

    names, pad = labels(job), job.tokenizer.pad_token_id
    known = numbers(job)
    temperature = fit_temperature(predict(model, encode(job, "heldout")[0], pad), known["heldout"])
    model.config.classification_temperature = temperature
    model.config.save_pretrained(folder)
    logits = predict(model, encode(job, "test")[0], pad)
    truth, decided = known["test"], logits.argmax(1)
    with open(folder / "confusion.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["actual", "predicted"])
        writer.writerows((names[one], names[other]) for one, other in zip(truth, decided, strict=True))
    raw, calibrated = (reliability(softmax(logits / heat), truth) for heat in (1.0, temperature))
    with open(folder / "reliability.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["confidence", "accuracy", "rows"])
        table.writerows(calibrated["bins"])
    plot_reliability(calibrated["bins"], folder / "reliability.png")
    return {
        "temperature": temperature,
        "calibration_error": {"raw": raw["error"], "calibrated": calibrated["error"]},
        "labels": len(names),
    }


def answer(loaded: "LoadedModel", rows: list[Row]) -> list[dict[str, Any]]:
    """`label`, `confidence` and `probabilities` of each row's text or pair."""
    from llm_core.training.finetuning.calibration import softmax
    from llm_core.training.finetuning.sequence_heads import logits_of

    config = loaded.network.config
    answers = []
    for row in softmax(logits_of(loaded, rows) / getattr(config, "classification_temperature", 1.0)):
        odds = {config.id2label[number]: float(share) for number, share in enumerate(row)}
        label = max(odds, key=lambda name: odds[name])
        answers.append({"label": label, "confidence": odds[label], "probabilities": odds})
    return answers


METHOD = Method(
    help="A classifier of texts: a softmax head with calibrated confidence.",
    params=Classification,
    fields=("text", "label"),
    kinds=("decoder", "encoder", "encoder-decoder"),
    why_not="a softmax head needs the states of a language model",
    layouts={"classification": Layout("text, label", has_fields, convert)},
    finetune=finetune,
    measure=measure,
    head=CLASSIFICATION,
    labels=labels,
    finish=finish,
    baseline=baseline,
    answer=answer,
    default_rows=default_rows,
    compared=lambda row: str(row["text"]),
    chat=False,
    loss="nats per row",
    score="accuracy",
    figures={
        "accuracy": Figure("accuracy"),
        "macro_f1": Figure("macro-F1, 95 % bootstrap interval"),
        "most_frequent_label": Figure("most frequent label"),
        "tfidf_logistic_regression": Figure("TF-IDF with logistic regression"),
        "temperature": Figure("temperature of the confidence"),
        "calibration_error": Figure("expected calibration error"),
        "labels": Figure("labels"),
    },
    use="classify --model {model}",
)
