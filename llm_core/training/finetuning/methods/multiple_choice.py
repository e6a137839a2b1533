"""The right one of several answers to a question: a head gives each pair of question and choice a score.

An encoder gets transformers' head for multiple choice (BERT's, arXiv:1810.04805, where it has one); a decoder or an
encoder-decoder, which transformers has none for, the classification head with one label. The loss is the
cross-entropy of the right choice among those of its own question, whose number may differ from row to row.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of
from llm_core.formats.choices import READINGS, Readings, choice_texts, common_reading, readings
from llm_core.models.family import Kind
from llm_core.params.finetuning import Data, Training
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.heads import Head, numbered
from llm_core.training.finetuning.method import Figure, Layout, Method, Row, first, text

if TYPE_CHECKING:
    import numpy as np

    from llm_core.models.loading import LoadedModel
    from llm_core.training.finetuning.training import Job

QUESTION_FIELDS = ("question", "question_stem", "premise", "goal", "text", "ctx")
CHOICE_FIELDS = ("choices", "options", "answers", "endings")
ANSWER_FIELDS = ("answerKey", "answer", "label", "correct")
COPA = {"cause": "What was the cause?", "effect": "What happened as a result?"}


class _ChoiceModel:
    """What `models.load` calls to read a checkpoint: the class that fits its config."""

    @staticmethod
    def of(config: Any) -> Any:
        import transformers
        from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIPLE_CHOICE_MAPPING

        if type(config) in MODEL_FOR_MULTIPLE_CHOICE_MAPPING:
            return transformers.AutoModelForMultipleChoice
        return transformers.AutoModelForSequenceClassification

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls.of(config).from_config(config)

    @classmethod
    def from_pretrained(cls, folder: Any, **options: Any) -> Any:
        from transformers import AutoConfig

        return cls.of(AutoConfig.from_pretrained(folder)).from_pretrained(folder, **options)


def _model_class(kind: Kind) -> Any:
    return _ChoiceModel


HEAD = Head("multiple choice", _model_class, lambda kind: "SEQ_CLS", fresh=True, options=numbered)


class MultipleChoice(Training):
    """A score for each choice of a question."""

    micro_batch: int = 8
    """Questions of one forward pass on one process, each with all of its choices."""


def has_list(raw: Row, data: Data) -> bool:
    """Whether a raw row has a question, a list of choices and the right one."""
    return (
        any(key in raw for key in QUESTION_FIELDS)
        and _is_list(first(raw, CHOICE_FIELDS))
        and any(key in raw for key in ANSWER_FIELDS)
    )


def _is_list(value: Any) -> bool:
    """A list, ARC's lists of texts and labels, or a list written as JSON, as a table has it."""
    return isinstance(value, list | dict) or (isinstance(value, str) and value.lstrip().startswith("["))


def convert_list(raw: Row, data: Data) -> Row:
    """A raw row as `question, choices, answer`.

    `choices` is a list of texts, or ARC's `{text: […], label: […]}`; the answer is the text, the letter or the position
    from 0 of the right choice, the same in the whole data set (`settle_answers`), or its label.
    """
    given: Any = first(raw, CHOICE_FIELDS)
    names: list[str] = []
    if isinstance(given, dict):
        given, names = given.get("text"), [str(name) for name in given.get("label", [])]
    choices = choice_texts(given)
    if names and len(names) != len(choices):
        raise ValueError(f"{len(choices)} choices and {len(names)} labels of choices")
    return {"question": _question(raw), "choices": choices, "answer": _answer(raw, choices, names)}


def has_columns(raw: Row, data: Data) -> bool:
    """Whether a raw row has a question, its choices in columns `choice1`, `choice2` and so on, and the right one."""
    return any(key in raw for key in QUESTION_FIELDS) and {"choice1", "choice2", "label"} <= raw.keys()


def convert_columns(raw: Row, data: Data) -> Row:
    """A raw row of columns as `question, choices, answer`; COPA's `question: cause` becomes a question in words."""
    choices = choice_texts(
        [raw[f"choice{number}"] for number in range(1, 27) if raw.get(f"choice{number}") is not None]
    )
    asked = raw.get("question")
    of_copa = "premise" in raw and asked in COPA
    shown = f"{text(raw['premise'], 'premise')} {COPA[str(asked)]}" if of_copa else _question(raw)
    return {"question": shown, "choices": choices, "answer": _answer({"label": raw["label"]}, choices, [])}


def has_distractors(raw: Row, data: Data) -> bool:
    """Whether a raw row has a question, the right answer and wrong ones (SciQ)."""
    return {"question", "correct_answer", "distractor1"} <= raw.keys()


def convert_distractors(raw: Row, data: Data) -> Row:
    """A raw row of SciQ as `question, choices, answer`, the choices in an order that the question's hash draws."""
    right = text(raw["correct_answer"], "correct_answer").strip()
    wrong = [text(raw[name], name) for name in (f"distractor{number}" for number in range(1, 26)) if raw.get(name)]
    question = _question(raw, raw.get("support"))
    choices = choice_texts(sorted([right, *wrong], key=lambda choice: short_hash(question, choice)))
    return {"question": question, "choices": choices, "answer": dict.fromkeys(READINGS, choices.index(right))}


def _question(raw: Row, context: Any = None) -> str:
    name = next((key for key in QUESTION_FIELDS if key in raw), "question")
    context = context or raw.get("context") or raw.get("passage")
    asked = text(raw.get(name), name)
    return f"{text(context, 'context')}\n{asked}" if context else asked


def _answer(raw: Row, choices: list[str], names: list[str]) -> Readings:
    """The positions that the right choice may have; a label of its row's choices (ARC's) has one position."""
    name = next((key for key in ANSWER_FIELDS if key in raw), "answer")
    value = raw.get(name)
    if str(value).strip() in names:
        return dict.fromkeys(READINGS, names.index(str(value).strip()))
    if found := readings(value, choices):
        return found
    raise ValueError(
        f"field '{name}' is {value!r:.40}; give the right one of {len(choices)} choices by its position from 0, its "
        "letter or its text"
    )


def settle_answers(split: dict[str, list[Row]]) -> dict[str, Any]:
    """Replace each `answer` by the position of the right choice, by one reading for the whole data set.

    Raises UserError for a row that has no answer by it.
    """
    common = common_reading([row["answer"] for rows in split.values() for row in rows])
    for rows in split.values():
        for row in rows:
            if common not in row["answer"]:
                raise UserError(
                    f"the answer to {row['question']!r:.60} is {' or '.join(row['answer'])}, most rows have {common}; "
                    "write the same in all rows"
                )
            row["answer"] = row["answer"][common]
    return {"answers_are": common}


def flat(rows: list[Row]) -> list[Row]:
    """A pair of question and choice for each choice of each row."""
    return [{"text": row["question"], "text_pair": choice} for row in rows for choice in row["choices"]]


def encode(tokenizer: Any, config: Any, rows: list[Row], limit: int) -> tuple[list[list[dict[str, list[int]]]], int]:
    """(inputs of each choice of each row, how many choices lost text to `limit` tokens)."""
    from llm_core.training.finetuning.sequence_heads import encode_inputs

    inputs, cut = encode_inputs(tokenizer, config, flat(rows), limit)
    rest = iter(inputs)
    return [[next(rest) for _ in row["choices"]] for row in rows], cut


def encode_side(job: "Job", side: str) -> tuple[list[list[dict[str, list[int]]]], int]:
    """`encode` of a side's rows."""
    from llm_core.models.configs import read_config

    return encode(job.tokenizer, read_config(job.base), job.rows[side], job.params.max_length)


def scores(model: Any, inputs: dict[str, Any]) -> Any:
    """The score of each pair, float32 (pairs,), of inputs (pairs, tokens)."""
    if any(type(module).__name__.endswith("ForMultipleChoice") for module in model.modules()):  # wrapped or not
        inputs = {name: value.unsqueeze(1) for name, value in inputs.items()}
    return model(**inputs).logits[:, 0].float()


def by_question(values: Any, counts: list[int]) -> Any:
    """Scores (pairs,) as (rows, most choices), minus infinity where a row has no such choice."""
    import torch

    return torch.nn.utils.rnn.pad_sequence(list(values.split(counts)), batch_first=True, padding_value=float("-inf"))


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    import torch
    from datasets import Dataset

    from llm_core.training.finetuning.rows import names
    from llm_core.training.finetuning.scoring import model_inputs
    from llm_core.training.finetuning.training import loss_trainer, train

    used: dict[str, int] = {}
    data = {}
    for side in ("train", "heldout"):
        inputs, cut = encode_side(job, side)
        answers = [row["answer"] for row in job.rows[side]]
        pairs = zip(inputs, answers, strict=True)
        data[side] = Dataset.from_list([{"choices": choices, "answer": answer} for choices, answer in pairs])
        used |= {f"{side}_rows": len(answers), f"{side}_choices_cut_at_max_length": cut}

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        answers = {"labels": torch.tensor([row["answer"] for row in rows], device="cpu")}
        counts = {"counts": torch.tensor([len(row["choices"]) for row in rows], device="cpu")}
        flattened = [choice for row in rows for choice in row["choices"]]
        return answers | counts | model_inputs(flattened, job.tokenizer.pad_token_id, "cpu")  # the trainer moves it

    def loss(model: Any, inputs: dict[str, Any]) -> Any:
        answers, counts = inputs["labels"], inputs["counts"].tolist()
        pairs = {name: value for name, value in inputs.items() if name not in ("labels", "counts")}
        return torch.nn.functional.cross_entropy(by_question(scores(model, pairs), counts), answers)

    trainer = loss_trainer(job, data, collate, loss)
    return {**train(job, trainer, names(job.rows["train"])), "data": used}


def choose(model: Any, tokenizer: Any, inputs: list[list[dict[str, list[int]]]]) -> "list[np.ndarray]":
    """Scores of the choices of each row, float32 (choices,)."""
    import torch

    from llm_core.models.loading import device_of
    from llm_core.training.finetuning.scoring import BATCH, model_inputs

    flattened = [choice for choices in inputs for choice in choices]
    found: list[Any] = []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(flattened), BATCH):
            batch = model_inputs(flattened[start : start + BATCH], tokenizer.pad_token_id, device_of(model))
            found.append(scores(model, batch).cpu())
    return [one.numpy() for one in torch.cat(found).split([len(choices) for choices in inputs])]


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """The share of test questions whose right choice has the highest score."""
    from llm_core.training.finetuning.scoring import mean_and_error

    rows = job.rows["test"]
    found = choose(model, job.tokenizer, encode_side(job, "test")[0])
    right = [float(one.argmax() == row["answer"]) for one, row in zip(found, rows, strict=True)]
    return {"accuracy": mean_and_error(right, groups_of(rows)), "items": {"accuracy": right}}


def baseline(job: "Job") -> dict[str, Any]:
    """The accuracy of the most frequent position, of the longest choice, and of a linear model over TF-IDF features."""
    import numpy as np

    from llm_core.training.finetuning.baselines import features_of, rank_linearly
    from llm_core.training.finetuning.scoring import mean_and_error

    test = job.rows["test"]
    usual = Counter(row["answer"] for row in job.rows["train"]).most_common()
    position = min(answer for answer, count in usual if count == usual[0][1])
    truth = {
        side: np.array([at == row["answer"] for row in rows for at in range(len(row["choices"]))])
        for side, rows in job.rows.items()
    }
    counts = {side: [len(row["choices"]) for row in rows] for side, rows in job.rows.items()}
    features = features_of({side: flat(rows) for side, rows in job.rows.items()})
    decided = {
        "most_frequent_position": [position] * len(test),
        "longest_choice": [max(range(len(row["choices"])), key=lambda at: len(row["choices"][at])) for row in test],
        "tfidf_logistic_regression": rank_linearly(features, truth, counts),
    }
    right = {
        name: [float(one == row["answer"]) for one, row in zip(found, test, strict=True)]
        for name, found in decided.items()
    }
    return {name: {"accuracy": mean_and_error(values, groups_of(test))} for name, values in right.items()}


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rise with its sign test; the config says that the model scores choices."""
    from llm_core.training.finetuning.scoring import paired
    from llm_core.training.finetuning.sequence_heads import keep

    keep(job, model, folder)
    before, after = (figures[when]["items"]["accuracy"] for when in ("before", "after"))
    return {"accuracy_change": paired(before, after, groups_of(job.rows["test"]))}


def answer(loaded: "LoadedModel", rows: list[Row]) -> list[dict[str, Any]]:
    """The choice with the highest score as `label`, with `confidence` and `probabilities` of each row's choices."""
    from llm_core.training.finetuning.calibration import softmax

    inputs, _ = encode(loaded.tokenizer, loaded.network.config, rows, loaded.context or 512)
    answers = []
    for row, found in zip(rows, choose(loaded.network, loaded.tokenizer, inputs), strict=True):
        odds = dict(zip(row["choices"], softmax(found[None])[0].tolist(), strict=True))
        label = max(odds, key=lambda name: odds[name])
        answers.append({"label": label, "confidence": odds[label], "probabilities": odds})
    return answers


METHOD = Method(
    help="The right one of several answers: a score for each pair of question and choice.",
    params=MultipleChoice,
    fields=("question", "choices", "answer"),
    kinds=("decoder", "encoder", "encoder-decoder"),
    why_not="a head for choices needs the states of a language model",
    layouts={
        "columns": Layout("question (or premise), choice1, choice2, …, label", has_columns, convert_columns),
        "distractors": Layout("question, correct_answer, distractor1, …", has_distractors, convert_distractors),
        "choices": Layout(
            "question, choices (a list), answer (position, letter or text, one of them in all rows)",
            has_list,
            convert_list,
        ),
    },
    finetune=finetune,
    measure=measure,
    head=HEAD,
    labels=lambda job: ["choice"],
    finish=finish,
    baseline=baseline,
    arrange=settle_answers,
    answer=answer,
    other_data="fetch `sciq`, `arc_easy`, `openbookqa`, `commonsense_qa` or `copa` by `llm-core fetch-dataset`",
    compared=lambda row: str(row["question"]),
    chat=False,
    loss="nats per question",
    score="accuracy",
    figures={
        "accuracy": Figure("questions whose right choice has the highest score"),
        "most_frequent_position": Figure("most frequent position of the right choice"),
        "longest_choice": Figure("longest choice"),
        "tfidf_logistic_regression": Figure("TF-IDF with logistic regression"),
    },
    use="classify --model {model} --text QUESTION --choice ONE --choice OTHER",
)
