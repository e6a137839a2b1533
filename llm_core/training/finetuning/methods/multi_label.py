"""Several labels to a text, or none: an independent yes or no for each label.

Trained by binary cross-entropy. A label is given where its probability reaches a threshold, one for all labels, which
is chosen on the held-out rows by micro-F1 and kept in the config as `multi_label_threshold`; the classical baseline
gets a threshold in the same way. F1 scores are scikit-learn's, a label or a row without anything to find counts 0
(per label) and 1 (per row).
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of
from llm_core.params.finetuning import Data, Training
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.data.labels import label_of
from llm_core.training.finetuning.heads import Head, auto, numbered
from llm_core.training.finetuning.method import Figure, Layout, Method, Row, excerpt, first, text
from llm_core.training.finetuning.methods.classification import TEXT_FIELDS

if TYPE_CHECKING:
    from llm_core.models.loading import LoadedModel
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.training import Job

LABELS_FIELDS = ("labels", "tags", "categories", "classes", "topics")
HEAD = Head(
    "multi-label classification",
    auto("AutoModelForSequenceClassification"),
    lambda kind: "SEQ_CLS",
    fresh=True,
    options=lambda labels: numbered(labels) | {"problem_type": "multi_label_classification"},
)
EXCERPT = 160  # characters of each section in a default row


class MultiLabel(Training):
    """A sigmoid for each label."""


def has_fields(raw: Row, data: Data) -> bool:
    """Whether a raw row has a text and a list of labels."""
    return all(any(key in raw for key in usual) for usual in (TEXT_FIELDS, LABELS_FIELDS))


def convert(raw: Row, data: Data) -> Row:
    """A raw row as `text, labels`: a list, or a text with `data.label_separator` between labels."""
    given = first(raw, LABELS_FIELDS)
    if isinstance(given, str):
        given = [part for part in given.split(data.label_separator) if part.strip()]
    if given is None:
        raise ValueError("field 'labels' is missing")
    if not isinstance(given, list):
        raise ValueError(f"field 'labels' is no list of labels but {type(given).__name__}")
    labels = sorted({label_of(one, "labels") for one in given})
    return {"text": text(first(raw, TEXT_FIELDS), "text"), "labels": labels}


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """Rows `text, labels`: the begin of one to three sections of a country, and the names of these sections."""
    import random

    rows: dict[str, list[Row]] = {}
    for country in facts.countries:
        rows[country.name] = []
        known = {name: [one for one in values if len(one) > 30] for name, values in sorted(country.sections.items())}
        known = {name: values for name, values in known.items() if values}
        for number in range(min(8, len(known))):
            draw = random.Random(f"{facts.seed}-{country.name}-{number}")
            chosen = draw.sample(sorted(known), min(draw.randint(1, 3), len(known)))
            pieces = [draw.choice(known[name]) for name in chosen]
            shown = " ".join(excerpt(piece, EXCERPT) for piece in pieces)
            documents = sorted({country.section_documents[name] for name in chosen})
            made = {"country": country.name, "documents": documents}
            key = short_hash("multi_label", country.name, str(number))
            rows[country.name].append({"id": key, "text": shown, "labels": sorted(chosen), **made})
    return facts.by_side(rows)


def labels(job: "Job") -> list[str]:
    """The labels of all rows, sorted. Raises UserError where there are fewer than two."""
    known = sorted({label for rows in job.rows.values() for row in rows for label in row["labels"]})
    if len(known) < 2:
        raise UserError(f"{job.method} needs two labels; the rows have {', '.join(known) or 'none'}")
    return known


def targets(job: "Job") -> dict[str, Any]:
    """Side -> whether each row has each label, bool (rows, labels)."""
    import numpy as np

    known = labels(job)
    return {
        side: np.array([[label in row["labels"] for label in known] for row in rows], bool).reshape(-1, len(known))
        for side, rows in job.rows.items()
    }


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    from llm_core.training.finetuning.sequence_heads import train_head

    wanted = {side: found.astype(float).tolist() for side, found in targets(job).items()}

    def loss(logits: Any, truth: Any) -> Any:
        return binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1).sum()

    return train_head(job, wanted, loss)


def probabilities(job: "Job", model: Any, side: str) -> Any:
    """Of each label, float64 (rows, labels)."""
    from scipy.special import expit

    from llm_core.training.finetuning.calibration import predict
    from llm_core.training.finetuning.sequence_heads import encode

    return expit(predict(model, encode(job, side)[0], job.tokenizer.pad_token_id).astype(float))


def decide(odds: dict[str, Any], wanted: dict[str, Any]) -> tuple[Any, float]:
    """(labels of the test rows, bool (rows, labels); the threshold that is best on the held-out rows)."""
    from llm_core.training.finetuning.calibration import fit_threshold

    threshold = fit_threshold(odds["heldout"], wanted["heldout"])
    return odds["test"] >= threshold, threshold


def figures_of(truth: Any, decided: Any, seed: int, groups: Any = None) -> dict[str, Any]:
    """Micro-F1, macro-F1, F1 of a row and share of rows that are right in every label, with 95 % intervals."""
    from llm_core.training.finetuning.calibration import bootstrapped, f1_of_labels
    from llm_core.training.finetuning.scoring import mean_and_error

    return {
        "micro_f1": bootstrapped(lambda *both: f1_of_labels(*both)[0], truth, decided, seed, groups),
        "macro_f1": bootstrapped(lambda *both: f1_of_labels(*both)[1], truth, decided, seed, groups),
        "row_f1": mean_and_error(row_f1(truth, decided), groups),
        "exact_match": mean_and_error((truth == decided).all(1).astype(float).tolist(), groups),
    }


def row_f1(truth: Any, decided: Any) -> list[float]:
    """F1 of each row's labels; 1 where a row has no label and gets none."""
    both, either = (truth & decided).sum(1), truth.sum(1) + decided.sum(1)
    return [2 * float(one) / float(other) if other else 1.0 for one, other in zip(both, either, strict=True)]


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """The figures on the test rows, with the threshold that is best on the held-out rows."""
    wanted = targets(job)
    decided, threshold = decide({side: probabilities(job, model, side) for side in ("heldout", "test")}, wanted)
    return {
        **figures_of(wanted["test"], decided, job.seed, groups_of(job.rows["test"])),
        "threshold": threshold,
        "items": {"row_f1": row_f1(wanted["test"], decided)},
    }


def baseline(job: "Job") -> dict[str, Any]:
    """The figures of the most frequent set of labels, and of a logistic regression for each label over TF-IDF."""
    import numpy as np

    from llm_core.training.finetuning.baselines import label_odds, tfidf

    wanted = targets(job)
    usual = Counter(map(tuple, wanted["train"].tolist())).most_common(1)[0][0]
    features = tfidf({side: [row["text"] for row in rows] for side, rows in job.rows.items()})
    linear, _ = decide(label_odds(features, wanted["train"]), wanted)
    decided = {
        "most_frequent_labels": np.tile(np.array(usual, bool), (len(wanted["test"]), 1)),
        "tfidf_logistic_regression": linear,
    }
    groups = groups_of(job.rows["test"])
    return {name: figures_of(wanted["test"], found, job.seed, groups) for name, found in decided.items()}


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Keep the threshold in the config; the number of labels, and of those that no training row has."""
    from llm_core.training.finetuning.sequence_heads import keep

    keep(job, model, folder, multi_label_threshold=figures["after"]["threshold"])
    trained = {label for row in job.rows["train"] for label in row["labels"]}
    known = labels(job)
    return {"labels": len(known), "labels_without_training_rows": len(set(known) - trained)}


def answer(loaded: "LoadedModel", rows: list[Row]) -> list[dict[str, Any]]:
    """`labels` and `probabilities` of each row's text."""
    from scipy.special import expit

    from llm_core.training.finetuning.sequence_heads import logits_of

    config = loaded.network.config
    answers = []
    for row in expit(logits_of(loaded, rows).astype(float)):
        odds = {config.id2label[number]: float(share) for number, share in enumerate(row)}
        given = [label for label, share in odds.items() if share >= config.multi_label_threshold]
        answers.append({"labels": given, "probabilities": odds})
    return answers


METHOD = Method(
    help="Several labels to a text: a yes or no for each, with a threshold chosen on held-out rows.",
    params=MultiLabel,
    fields=("text", "labels"),
    kinds=("decoder", "encoder", "encoder-decoder"),
    why_not="a head for labels needs the states of a language model",
    layouts={"multi_label": Layout("text, labels (a list, or a text with ; between labels)", has_fields, convert)},
    finetune=finetune,
    measure=measure,
    head=HEAD,
    labels=labels,
    finish=finish,
    baseline=baseline,
    answer=answer,
    default_rows=default_rows,
    compared=lambda row: str(row["text"]),
    chat=False,
    loss="nats per label",
    score="row_f1",
    figures={
        "micro_f1": Figure("micro-F1, 95 % bootstrap interval"),
        "macro_f1": Figure("macro-F1, 95 % bootstrap interval"),
        "row_f1": Figure("F1 of a row's labels, mean over rows"),
        "exact_match": Figure("rows with exactly the right labels"),
        "threshold": Figure("probability from which a label is given"),
        "labels": Figure("labels"),
        "labels_without_training_rows": Figure("labels that no training row has"),
        "most_frequent_labels": Figure("most frequent set of labels"),
        "tfidf_logistic_regression": Figure("TF-IDF with logistic regression"),
    },
    use="classify --model {model}",
)
