"""Params of finetuning: which methods the graph runs, and the knobs of each.

`methods` is what dvc.yaml iterates over: the method's name and the model it starts from. Each method's own section
sits beside it, so that a stage depends on its own knobs alone. The type of that section belongs to the method's module
(`llm_core.training.finetuning.method`); the modules are found when params are first read.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from llm_core.params.base import Section
from llm_core.params.plugins import discover

PACKAGE, GROUP = "llm_core.training.finetuning.methods", "llm_core.finetuning_methods"


class Parent(Section):
    """Where a method of the default graph starts."""

    parent: str = "base"
    """Folder under data/models that the method finetunes."""


class Lora(Section):
    """Low-rank adapters (LoRA, arXiv:2106.09685)."""

    rank: int = Field(8, ge=1)
    """Rank of the update of each adapted matrix."""
    alpha: int = Field(16, ge=1)
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the adapted layers; all-linear is every linear layer but the head."""


class Data(Section):
    """How data sets are read, checked and split."""

    format: str = "auto"
    """Layout of the rows, which every row must have; auto takes the layout of the first row. Instruction: alpaca,
    messages, sharegpt, dolly, pairs, completion, question; dpo and reward: preference, hh-rlhf; the others read one
    layout alone."""
    text_field: str | None = None
    """Classification: the field with the text; None tries text, sentence, content, review, message."""
    label_field: str | None = None
    """Classification: the field with the label; None tries label, category, class, topic, section."""
    heldout_share: float = Field(0.1, gt=0, lt=0.5)
    """Share for early stopping and calibration, where the data set has no split of its own."""
    test_share: float = Field(0.1, gt=0, lt=0.5)
    """Share for the figures that are reported."""
    near_duplicate_similarity: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word 3-grams above which a test or held-out row leaves, as a training row's twin."""
    maximum_bad_rows: float = Field(0.01, ge=0, le=1)
    """Share of unreadable rows that is tolerated (each is counted, the first ones are named)."""
    maximum_rows: int | None = Field(None, ge=1)
    """Use only so many rows, drawn by the seed."""
    open_variants: int = Field(2, ge=0)
    """Factbook: questions with context for each fact, beside the one without."""


class Training(Section):
    """What every method's training has in common."""

    version: int = 1
    """Raise when a change of code changes what training computes: the stage then runs again."""
    adapter: Literal["full", "lora", "qlora"] = "full"
    """Train all weights, low-rank adapters, or low-rank adapters on a base in 4 bits (NF4)."""
    lora: Lora = Lora()
    qlora_fallback: bool = False
    """Where 4 bits cannot run on this processor, use LoRA instead of stopping."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the training rows."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after so many optimizer steps."""
    micro_batch: int = Field(16, ge=1)
    """Rows of one forward pass on one process."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes before each optimizer step."""
    learning_rate: float = Field(5e-4, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay."""
    warmup_share: float = Field(0.05, ge=0, le=1)
    """Share of the steps in which the learning rate rises linearly."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    """Learning rate after the warm-up."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    max_length: int = Field(256, ge=8)
    """Longest row in tokens."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in the forward pass; bfloat16 keeps float32 masters under ZeRO."""
    zero_stage: Literal[0, 1, 2, 3] | None = 1
    """DeepSpeed ZeRO stage; None trains without DeepSpeed."""
    processes: int = Field(1, ge=1)
    """Processes on this machine, started by torchrun."""
    evaluations: int = Field(4, ge=1)
    """Times that the held-out loss is measured (and a checkpoint written) during training."""
    heldout_rows: int | None = Field(None, ge=1)
    """Measure on so many held-out rows, drawn by the seed, instead of all; each measurement takes that much less."""
    patience: int | None = Field(None, ge=1)
    """Early stopping: measurements without a better held-out loss; the best weights are kept."""


def methods() -> dict[str, Any]:
    """Name -> `llm_core.training.finetuning.method.Method`, of every method that there is."""
    return discover(PACKAGE, "METHOD", GROUP)


@cache
def _sections() -> type[Section]:
    """A section with the section of every method."""
    fields: dict[str, Any] = {name: (method.params, method.params()) for name, method in methods().items()}
    return create_model("Methods", __base__=Section, **fields)


class Finetuning(Section):
    """Knobs of finetuning. Beside the fields below, there is a section for each method, under its name."""

    model_config = ConfigDict(extra="allow")

    methods: dict[str, Parent] = Field(default_factory=dict)
    """The methods that the graph runs, and the model each starts from."""
    on_demand: dict[str, Parent] = Field(default_factory=dict)
    """The methods of experiments/finetuning/dvc.yaml, which `dvc repro` runs only when asked for them."""
    data: Data = Data()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The section of the method `name`."""

    @model_validator(mode="before")
    @classmethod
    def _type_sections(cls, values: Any) -> Any:
        """Give every method its section, typed by the method; refuse a name that is neither a field nor a method."""
        if not isinstance(values, dict):
            return values
        own = {key: value for key, value in values.items() if key in cls.model_fields}
        sections = {key: value for key, value in values.items() if key not in own}
        known, layouts = methods(), {"auto"}
        for method in known.values():
            layouts |= method.layouts.keys()
        wrong: list[tuple[tuple[Any, ...], Any]] = [(("methods", name), name) for name in _keys(own.get("methods"))]
        wrong += [(("on_demand", name), name) for name in _keys(own.get("on_demand"))]
        wrong += [((name,), name) for name in sections]
        there = f"no finetuning method (there are {', '.join(known)})"
        details = [
            InitErrorDetails(
                type=PydanticCustomError("no_method", there),
                loc=place,
                input=name,
            )
            for place, name in wrong
            if name not in known
        ]
        data = own.get("data")
        form = data.format if isinstance(data, Data) else data.get("format", "auto") if isinstance(data, dict) else None
        if isinstance(form, str) and form not in layouts:
            message = f"no layout of rows (there are {', '.join(sorted(layouts))})"
            details.append(
                InitErrorDetails(type=PydanticCustomError("no_layout", message), loc=("data", "format"), input=form)
            )
        if details:
            raise ValidationError.from_exception_data("finetuning", details)
        return own | dict(_sections().model_validate(sections))

    @model_validator(mode="after")
    def _one_stage_a_method(self) -> "Finetuning":
        if twice := sorted(self.methods.keys() & self.on_demand.keys()):
            raise ValueError(f"{twice[0]} is in methods and in on_demand; one stage alone can write its model")
        return self


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []
