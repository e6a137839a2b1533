"""The relation of two texts: inference, paraphrase. Classification of a pair, encoded as the tokenizer joins two texts.

What is trained, measured and calibrated is `classification`'s. The classical baseline sees TF-IDF features of both
texts and how much they overlap. The similarity of two texts, a number, is `regression`'s.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.params.finetuning import Data
from llm_core.training.finetuning.data.labels import label_of
from llm_core.training.finetuning.data.pairs import PAIRS, pair_fields, pair_of
from llm_core.training.finetuning.method import Layout, Method, Row, first
from llm_core.training.finetuning.methods import classification

if TYPE_CHECKING:
    from llm_core.training.finetuning.training import Job

LABEL_FIELDS = (*classification.LABEL_FIELDS, "gold_label", "relation")


class SentencePairs(classification.Classification):
    """A softmax head on a pair of texts."""


def has_fields(raw: Row, data: Data) -> bool:
    """Whether a raw row has two texts and a label."""
    return pair_fields(raw) is not None and any(key in raw for key in LABEL_FIELDS)


def convert(raw: Row, data: Data) -> Row:
    """A raw row as `text, text_pair, label`."""
    return {**pair_of(raw), "label": label_of(first(raw, LABEL_FIELDS), "label")}


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """As `classification` does; the config says that the model reads pairs."""
    from llm_core.training.finetuning.sequence_heads import keep

    keep(job, model, folder, text_pairs=True)
    return classification.finish(job, model, figures, folder)


METHOD = Method(
    help="The relation of two texts: inference, paraphrase.",
    params=SentencePairs,
    fields=("text", "text_pair", "label"),
    kinds=("decoder", "encoder", "encoder-decoder"),
    why_not=classification.METHOD.why_not,
    layouts={"pair": Layout("; or ".join(", ".join(pair) for pair in PAIRS) + "; with label", has_fields, convert)},
    finetune=classification.finetune,
    measure=classification.measure,
    head=classification.METHOD.head,
    labels=classification.labels,
    finish=finish,
    baseline=classification.baseline,
    answer=classification.answer,
    other_data="fetch `rte`, `mrpc` or `cb` by `llm-core fetch-dataset`, or give rows of a file",
    compared=lambda row: f"{row['text']} {row['text_pair']}",
    chat=False,
    loss=classification.METHOD.loss,
    score=classification.METHOD.score,
    figures=classification.METHOD.figures,
    use="classify --model {model} --text FIRST --second SECOND",
)
