"""What is put on a model to train it: a head describes itself, so a method's module may define one of its own.

A head says by which class a checkpoint is loaded, which settings its labels need, and whether layers that the
checkpoint lacks are expected. `models.load` knows nothing else about it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llm_core.models.family import Kind

Options = dict[str, Any]


@dataclass(frozen=True)
class Head:
    """A head of a model that is trained."""

    name: str
    """In words, for messages: `classification`."""
    model_class: Callable[[Kind], Any]
    """The class whose `from_pretrained` reads a checkpoint with this head, for a kind of model. It needs
    `from_config` too where the head is `fresh`. transformers' Auto classes have both."""
    task_type: Callable[[Kind], str | None]
    """PEFT's task type, for a kind of model (`peft.TaskType`); None for a model that it has no type for."""
    fresh: bool = False
    """Whether a checkpoint may lack layers of it. Linear layers that are missing start random, are trained whole and
    never put into 4 bits."""
    options: Callable[[list[str]], Options] = lambda labels: {}
    """Arguments of `from_pretrained` for the labels that the method states."""
    adjust: Callable[[Any], None] = lambda model: None
    """A change to the model after loading."""

    def exists_for(self, config: Any, kind: Kind) -> bool:
        """Whether the head's class has a network for the model of this config; True where it does not say."""
        networks = getattr(self.model_class(kind), "_model_mapping", None)
        return networks is None or type(config) in networks


def numbered(labels: list[str]) -> Options:
    """The settings of transformers for labels that are numbered in this order."""
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def auto(name: str) -> Callable[[Kind], Any]:
    """transformers' Auto class `name`, for every kind of model; imported when a model is loaded."""

    def model_class(kind: Kind) -> Any:
        import transformers

        return getattr(transformers, name)

    return model_class


def _language_model(kind: Kind) -> Any:
    return auto("AutoModelForSeq2SeqLM" if kind == "encoder-decoder" else "AutoModelForCausalLM")(kind)


def _classes(labels: list[str]) -> Options:
    return numbered(labels) | {"problem_type": "single_label_classification" if len(labels) > 1 else None}


def _without_pooler(model: Any) -> None:
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # BERT's, that a masked model's checkpoint lacks; means over tokens do not pass it


GENERATION = Head(
    "generation", _language_model, lambda kind: "SEQ_2_SEQ_LM" if kind == "encoder-decoder" else "CAUSAL_LM"
)
CLASSIFICATION = Head(
    "classification", auto("AutoModelForSequenceClassification"), lambda kind: "SEQ_CLS", fresh=True, options=_classes
)
"""A softmax over labels; with one label, a reward model."""
ENCODER = Head("encoder", auto("AutoModel"), lambda kind: "FEATURE_EXTRACTION", adjust=_without_pooler)
"""No head: the states of the last layer."""
