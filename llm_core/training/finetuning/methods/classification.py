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
from llm_core.params.finetuning import Data, Training
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.data.labels import label_of
from llm_core.training.finetuning.heads import CLASSIFICATION
from llm_core.training.finetuning.method import Figure, Layout, Method, Row, first, text

if TYPE_CHECKING:
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
    return all(name in raw if name else any(key in raw for key in usual) for name, usual in _fields(data))


def _fields(data: Data) -> tuple[tuple[str | None, tuple[str, ...]], ...]:
    return (data.text_field, TEXT_FIELDS), (data.label_field, LABEL_FIELDS)


def convert(raw: Row, data: Data) -> Row:
    """A raw row as `text, label`."""
    found, label = (first(raw, name, usual) for name, usual in _fields(data))
    return {"text": text(found, data.text_field or "text"), "label": label_of(label, data.label_field or "label")}


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
                shown = piece[:EXCERPT].rsplit(" ", 1)[0] if len(piece) > EXCERPT else piece
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
        raise UserError(f"classification needs two labels; the training rows have only '{known[0]}'")
    return known


def encode(job: "Job", side: str) -> tuple[list[dict[str, list[int]]], int]:
    """(encoded texts, how many lost their end to max_length)."""
    from llm_core.training.finetuning.conversation import encode_text

    ends = job.kind == "encoder-decoder"
    found = [encode_text(job.tokenizer, row["text"], job.params.max_length, ends) for row in job.rows[side]]
    return [{"input_ids": ids} for ids, _ in found], sum(cut for _, cut in found)


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    import torch
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    from llm_core.training.finetuning.rows import names as names_of
    from llm_core.training.finetuning.training import arguments, train

    names, number = labels(job), numbers(job)
    encoded = {side: encode(job, side) for side in ("train", "heldout")}
    data = {
        side: Dataset.from_list(
            [
                {**row, "length": len(row["input_ids"]), "labels": int(label)}
                for row, label in zip(rows, number[side], strict=True)
            ]
        )
        for side, (rows, _) in encoded.items()
    }
    counts = Counter(data["train"]["labels"])
    balanced = job.params.class_weights == "balanced"
    weights = torch.tensor(
        [len(data["train"]) / (len(names) * counts[at]) if balanced else 1.0 for at in range(len(names))],
        device="cpu",
    )

    def weighted(outputs: Any, targets: Any, num_items_in_batch: Any = None) -> Any:
        loss = torch.nn.functional.cross_entropy(
            outputs.logits.float(), targets, weights.to(outputs.logits.device), reduction="sum"
        )
        return loss / (num_items_in_batch if num_items_in_batch is not None else len(targets))

    model = job.adapt(job.load_base())
    trainer = Trainer(
        model,
        # batches of similar lengths save padding, but length predicts the label (spam is long): the loss would jump
        args=TrainingArguments(**arguments(job, len(data["train"]))),
        train_dataset=data["train"],
        eval_dataset=data["heldout"].sort("length"),
        data_collator=DataCollatorWithPadding(job.tokenizer),
        processing_class=job.tokenizer,
        compute_loss_func=weighted,
    )
    used = {f"{side}_rows": len(rows) for side, (rows, _) in encoded.items()}
    return {
        **train(job, trainer, names_of(job.rows["train"])),
        "data": used | {f"{side}_cut_at_max_length": cut for side, (_, cut) in encoded.items()},
    }


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """Accuracy and macro-F1 on the test rows, with 95 % intervals."""
    from llm_core.training.finetuning.calibration import label_figures, predict

    truth = numbers(job)["test"]
    decided = predict(model, encode(job, "test")[0], job.tokenizer.pad_token_id).argmax(1)
    right = (decided == truth).astype(float).tolist()
    return {**label_figures(truth, decided, job.seed), "items": {"accuracy": right}}


def baseline(job: "Job") -> dict[str, Any]:
    """The figures of the most frequent label, and of logistic regression over TF-IDF features."""
    from llm_core.training.finetuning.baselines import classify_linearly, most_frequent, tfidf
    from llm_core.training.finetuning.calibration import label_figures

    truth = numbers(job)
    features = tfidf({side: [row["text"] for row in rows] for side, rows in job.rows.items()})
    decided = {
        "most_frequent_label": most_frequent(truth["train"], len(truth["test"])),
        "tfidf_logistic_regression": classify_linearly(features, truth, job.params.class_weights == "balanced"),
    }
    return {name: label_figures(truth["test"], answers, job.seed) for name, answers in decided.items()}


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
