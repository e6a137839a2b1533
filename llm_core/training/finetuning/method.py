"""The description of a finetuning method, which everything else in the project reads.

To add a method, write one module that defines `METHOD = Method(...)`: in `llm_core/training/finetuning/methods/`, or in
another distribution with an entry point in the group `llm_core.finetuning_methods` whose name is the method's and whose
value is the module. It can then be the `method` of a run in params.yaml; it has a line in the help of `finetune`, a run
in MLflow and a section in the report.

The module is imported whenever params.yaml is read: it imports torch, transformers and TRL inside its functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.models.family import Kind
from llm_core.params.finetuning import Data, Training
from llm_core.training.finetuning.heads import GENERATION, Head

if TYPE_CHECKING:
    from llm_core.models.loading import LoadedModel
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.training import Job

Row = dict[str, Any]
Figures = dict[str, Any]
Messages = list[dict[str, str]]
Answer = dict[str, Any]
SIDES = ("train", "heldout", "test")


@dataclass(frozen=True)
class Layout:
    """One way in which data sets lay out the rows of a method; its name is a value of `data.format` of a run."""

    shape: str
    """The fields in words, for messages: `instruction, input, output`."""
    matches: Callable[[Row, Data], bool]
    """Whether a raw row has this layout's fields; used where `data.format` is auto."""
    convert: Callable[[Row, Data], Row]
    """A raw row as the method's row. Raises ValueError that says which field is missing or wrong."""


@dataclass(frozen=True)
class Figure:
    """What a figure of metrics.json means, for the report and for MLflow."""

    title: str
    """Title in words. A `*` in the figure's name matches a kind of row, which replaces `{}` in the title."""
    unit: str = ""
    """For example `nats per token`; empty for shares and counts."""


@dataclass(frozen=True)
class Curve:
    """A figure of training_log.jsonl that the report draws over the steps."""

    axis: str
    caption: str


@dataclass(frozen=True)
class Method:
    """A finetuning method."""

    help: str
    """One line for `llm-core finetune --help`."""
    params: type[Training]
    """Type of the method's section in params.yaml."""
    fields: tuple[str, ...]
    """Fields that every prepared row has."""
    kinds: tuple[Kind, ...]
    """Kinds of model that the method can train."""
    why_not: str
    """Why it cannot train the other kinds."""
    layouts: Mapping[str, Layout]
    """Layouts of raw rows that it reads, by name; the first one that matches is taken."""
    finetune: Callable[[Job], dict[str, Any]]
    """Train and save to `job.trained`; returns what `training.train` does, with `data` (counts of rows by side)."""
    measure: Callable[[Job, Any], Figures]
    """Figures of a model on the test rows. `items` (scores by item, and `rows`, the ids of those that were measured,
    where some were left out) and `samples` do not enter metrics.json."""
    head: Head = GENERATION
    """Head of the model that is trained: one of `heads.py`, or one that the method's module defines."""
    labels: Callable[[Job], list[str] | None] = lambda job: None
    """Labels of the head, where it has some; one label of a classification head makes a reward model."""
    finish: Callable[[Job, Any, Figures, Path], Figures] = lambda job, model, figures, folder: {}
    """More figures from `before` and `after`, and files in the model's folder. A `confusion.csv` (actual, predicted)
    and a `reliability.csv` (confidence, accuracy, rows) are shown by the report, and so are the figures of each label
    in a `per_label.csv`."""
    baseline: Callable[[Job], Figures] = lambda job: {}
    """Figures that need no model, on the same test rows: name of a baseline -> its figures, by the names of the
    model's own; or one figure alone."""
    default_rows: Callable[[Facts], dict[str, list[Row]]] | None = None
    """Rows by side, made from the World Factbook; None where the method has no default data."""
    arrange: Callable[[dict[str, list[Row]]], dict[str, Any]] = lambda split: {}
    """What is decided of a data set as a whole, before its rows by side are written: it may change them, and returns
    figures for the metrics of `finetune-data`."""
    document_rows: Callable[[Path, Data, int], tuple[dict[str, list[Row]], Figures]] | None = None
    """Rows by side and counts for metrics.json, made from other documents of a `split` folder, the run's `data` and the
    seed; takes the place of `default_rows`."""
    other_data: str = ""
    """How to make data for it, where `default_rows` and `document_rows` are None."""
    compared: Callable[[Row], str] = lambda row: str(row)
    """The text by which two rows are near-duplicates."""
    asked: Callable[[Job, Row], Messages] | None = None
    """The conversation that a test row asks the model to continue; None where nothing is generated."""
    chat: bool = True
    """Whether the tokenizer needs a chat template."""
    minimum: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 1))
    """Minimum number of rows of each side."""
    loss: str = "nats per token"
    """Unit of the training loss."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """The figures in metrics.json, by name."""
    curves: Mapping[str, Curve] = field(default_factory=lambda: {"eval_loss": Curve("loss", "held-out loss")})
    """The figures of training_log.jsonl that are drawn, by name."""
    score: str = ""
    """Name in `items` of the figure that compares two of its models: a value for each test row, or for each of the
    `scored_items` rows that the seed draws. The registry's gate reads it. Higher is better."""
    answer: Callable[[LoadedModel, list[Row]], list[Answer]] | None = None
    """Answers of a trained model to rows without their labels, for `llm-core classify`: `label` and `confidence`,
    `labels`, or `score`, and what else is known (`probabilities`). None for a model that `classify` does not read."""
    use: str = "chat --model {model}"
    """The verb of llm-core that uses its models, with options; `{model}` is replaced by the folder."""

    def figure(self, name: str) -> Figure:
        """What the figure `name` means; a figure that the method does not describe keeps its name as its title."""
        if name in self.figures:
            return self.figures[name]
        for pattern, figure in self.figures.items():
            start, star, end = pattern.partition("*")
            if star and name.startswith(start) and name.endswith(end) and len(name) > len(start) + len(end):
                kind = name[len(start) : len(name) - len(end)]
                return Figure(figure.title.format(kind), figure.unit)
        return Figure(name.replace("_", " "))


def first(raw: Row, usual: tuple[str, ...]) -> Any:
    """The value of the first of the `usual` fields that the row has; None without any."""
    return next((raw[key] for key in usual if key in raw), None)


def excerpt(text: str, characters: int) -> str:
    """The begin of a text: at most so many characters, without the word that they cut."""
    return text[:characters].rsplit(" ", 1)[0] if len(text) > characters else text


def text(value: Any, name: str) -> str:
    """`value`, which must be a text that is not blank. Raises ValueError that names the field."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"field '{name}' is missing or empty")
    if not isinstance(value, str):
        raise ValueError(f"field '{name}' is no text but {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"field '{name}' holds half of a surrogate pair, which is no character") from None
    return value
