"""A number for a text, or for a pair of texts: ratings, grades, similarity; ordered classes by their numbers.

Where all scores of training are whole numbers, they are read as ordered classes too: predictions are rounded, and
compared by Cohen's kappa with quadratic weights (scikit-learn's).

Trained by squared error on scores that are brought to mean 0 and deviation 1 by the training rows; the config keeps
both as `score_mean` and `score_deviation`, and a prediction is logit * score_deviation + score_mean. Pearson's and
Spearman's correlations are scipy's.
"""

import math
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of
from llm_core.params.finetuning import Data, Training
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.heads import Head, auto, numbered
from llm_core.training.finetuning.method import Figure, Layout, Method, Row, excerpt, first, text
from llm_core.training.finetuning.methods.classification import TEXT_FIELDS

if TYPE_CHECKING:
    from llm_core.models.loading import LoadedModel
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.training import Job

LATITUDE = re.compile(r"(\d{1,2}) (\d{2}) [NS],")  # as the Factbook writes coordinates: 12 30 S, 96 50 E
PASSAGES, EXCERPT = 6, 240  # of a country, and characters of each, in default rows
PAIRS, PAIR_FACTS = 10, 5  # pairs of a country, and facts in each text of a pair, in default rows
SCORE_FIELDS = ("score", "rating", "stars", "grade", "similarity", "similarity_score", "label")
HEAD = Head(
    "regression",
    auto("AutoModelForSequenceClassification"),
    lambda kind: "SEQ_CLS",
    fresh=True,
    options=lambda labels: numbered(labels) | {"problem_type": "regression"},
)


class Regression(Training):
    """One number, by squared error."""


def has_fields(raw: Row, data: Data) -> bool:
    """Whether a raw row has a text and a number."""
    return all(any(key in raw for key in usual) for usual in (TEXT_FIELDS, SCORE_FIELDS))


def convert(raw: Row, data: Data) -> Row:
    """A raw row as `text, score`."""
    return {"text": text(first(raw, TEXT_FIELDS), "text"), "score": score_of(raw)}


def has_pair(raw: Row, data: Data) -> bool:
    """Whether a raw row has two texts and a number."""
    from llm_core.training.finetuning.data.pairs import pair_fields

    return pair_fields(raw) is not None and any(key in raw for key in SCORE_FIELDS)


def convert_pair(raw: Row, data: Data) -> Row:
    """A raw row as `text, text_pair, score`."""
    from llm_core.training.finetuning.data.pairs import pair_of

    return {**pair_of(raw), "score": score_of(raw)}


def score_of(raw: Row) -> float:
    """The finite number of a raw row. Raises ValueError that names the field."""
    name = next((key for key in SCORE_FIELDS if key in raw), "score")
    value = raw.get(name)
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"field '{name}' is {value!r:.40}, which is no finite number")
    return number


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """`similar_pairs` where `data.format` is pair; else rows `text, score`: a passage of a country's geography, and how
    many degrees it is from the equator.
    """
    if facts.format == "pair":
        return similar_pairs(facts)
    rows: dict[str, list[Row]] = {}
    for country in facts.countries:
        rows[country.name] = []
        values = country.sections.get("Geography", [])
        places = [found for value in values if (found := LATITUDE.match(value))]
        if not places:
            continue
        score = int(places[0][1]) + int(places[0][2]) / 60
        passages = [value for value in values if len(value) > 40 and not LATITUDE.match(value)]
        for number, passage in enumerate(passages[:PASSAGES]):
            shown = excerpt(passage, EXCERPT)
            made = {"country": country.name, "documents": [country.section_documents["Geography"]]}
            key = short_hash("regression", country.name, str(number))
            rows[country.name].append({"id": key, "text": shown, "score": score, **made})
    return facts.by_side(rows)


def similar_pairs(facts: "Facts") -> dict[str, list[Row]]:
    """Rows `text, text_pair, score`: two texts of the same PAIR_FACTS fields in different orders, and how many of their
    facts agree, from 0 to PAIR_FACTS.

    The first text is about a country; in the second a drawn number of facts are those of another country of the same
    side of the split, with another answer.
    """
    from llm_core.training.finetuning.data.factbook import QUESTIONS

    def written(known: dict[str, str], order: list[str]) -> str:
        return " ".join(f"{QUESTIONS[name][0]}: {known[name]}." for name in order)

    rows: dict[str, list[Row]] = {}
    for country in facts.countries:
        rows[country.name] = []
        others = [one for one in facts.countries if facts.sides[one.name] == facts.sides[country.name]]
        for number in range(PAIRS):
            key = short_hash("similar", country.name, str(number))
            draw = random.Random(f"{facts.seed}-{key}")
            other = draw.choice(others)
            differ = [name for name in country.answers if other.answers.get(name, country.answers[name])
                      != country.answers[name]]  # fmt: skip
            replaced = draw.sample(differ, min(draw.randint(0, PAIR_FACTS), len(differ)))
            kept = [name for name in country.answers if name not in replaced]
            if len(replaced) + len(kept) < PAIR_FACTS:
                continue
            shown = [*replaced, *draw.sample(kept, PAIR_FACTS - len(replaced))]
            second = {name: (other if name in replaced else country).answers[name] for name in shown}
            texts = {
                "text": written(country.answers, draw.sample(shown, PAIR_FACTS)),
                "text_pair": written(second, draw.sample(shown, PAIR_FACTS)),
            }
            documents = {country.answer_documents[name] for name in shown}
            documents |= {other.answer_documents[name] for name in replaced}
            made = {"country": country.name, "documents": sorted(documents)}
            rows[country.name].append({"id": key, **texts, "score": float(PAIR_FACTS - len(replaced)), **made})
    return facts.by_side(rows)


def scale(job: "Job") -> tuple[float, float]:
    """Mean and deviation of the training scores. Raises UserError where they are all the same."""
    from statistics import fmean, pstdev

    scores = [row["score"] for row in job.rows["train"]]
    if (deviation := pstdev(scores)) == 0:
        raise UserError(f"{job.method} needs scores that differ; all {len(scores)} training rows have {scores[0]:g}")
    return fmean(scores), deviation


def targets(job: "Job") -> dict[str, Any]:
    """Side -> the rows' scores, float64 (rows,)."""
    import numpy as np

    return {side: np.array([row["score"] for row in rows], float) for side, rows in job.rows.items()}


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    from llm_core.training.finetuning.sequence_heads import train_head

    mean, deviation = scale(job)
    wanted = {side: ((found - mean) / deviation).tolist() for side, found in targets(job).items()}
    return train_head(job, wanted, lambda logits, truth: ((logits[:, 0] - truth) ** 2).sum())


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """The figures of the predictions for the test rows, in the scores' unit."""
    from llm_core.training.finetuning.calibration import predict
    from llm_core.training.finetuning.sequence_heads import encode

    mean, deviation = scale(job)
    truth = targets(job)["test"]
    found = predict(model, encode(job, "test")[0], job.tokenizer.pad_token_id)[:, 0].astype(float) * deviation + mean
    return {
        **figures_of(truth, found, job.seed, classes(job), groups_of(job.rows["test"])),
        "items": {"negative_absolute_error": (-abs(truth - found)).tolist()},
    }


def classes(job: "Job") -> tuple[int, int] | None:
    """The lowest and the highest training score where all are whole numbers and there are fewer than 20; else None."""
    scores = {row["score"] for row in job.rows["train"]}
    if len(scores) >= 20 or any(score != int(score) for score in scores):
        return None
    return int(min(scores)), int(max(scores))


def figures_of(
    truth: Any, found: Any, seed: int, ordered: tuple[int, int] | None = None, groups: Any = None
) -> dict[str, Any]:
    """Mean squared and absolute error, Pearson's and Spearman's correlation, with 95 % intervals.

    With `ordered`, the lowest and the highest class, `weighted_kappa` of predictions that are rounded to classes.
    """
    import numpy as np
    from scipy.stats import pearsonr, spearmanr

    from llm_core.training.finetuning.calibration import bootstrapped
    from llm_core.training.finetuning.scoring import mean_and_error

    def correlation(measured: Any) -> Any:
        return lambda one, other: (
            float(measured(one, other).statistic) if len(set(one)) > 1 and len(set(other)) > 1 else math.nan
        )

    errors = truth - found
    of_classes = {}
    if ordered is not None:
        given = np.clip(np.rint(found), *ordered).astype(int)
        of_classes["weighted_kappa"] = bootstrapped(weighted_kappa, np.rint(truth).astype(int), given, seed, groups)
    return of_classes | {
        "mean_squared_error": mean_and_error((errors**2).tolist(), groups),
        "mean_absolute_error": mean_and_error(abs(errors).tolist(), groups),
        "negative_absolute_error": mean_and_error((-abs(errors)).tolist(), groups),
        "pearson": bootstrapped(correlation(pearsonr), truth, found, seed, groups),
        "spearman": bootstrapped(correlation(spearmanr), truth, found, seed, groups),
    }


def weighted_kappa(truth: Any, decided: Any) -> float:
    """Cohen's kappa with quadratic weights of whole numbers (rows,); nan where both sides are one class alone.

    1 - mean squared difference by the one that chance gives, which is scikit-learn's `cohen_kappa_score` with
    `weights="quadratic"` for classes that are numbered without gaps.
    """
    lowest = truth.min()  # without which the squares of large numbers would round
    truth, decided = truth - lowest, decided - lowest
    chance = float((truth**2).mean() + (decided**2).mean() - 2 * truth.mean() * decided.mean())  # over all pairs
    return 1 - float(((truth - decided) ** 2).mean()) / chance if chance else math.nan


def baseline(job: "Job") -> dict[str, Any]:
    """The figures of the training rows' mean score, and of ridge regression over TF-IDF features."""
    import numpy as np

    from llm_core.training.finetuning.baselines import features_of, predict_linearly

    truth = targets(job)
    found = {
        "training_mean": np.full(len(truth["test"]), truth["train"].mean()),
        "tfidf_ridge_regression": predict_linearly(features_of(job.rows), truth),
    }
    groups = groups_of(job.rows["test"])
    return {name: figures_of(truth["test"], values, job.seed, classes(job), groups) for name, values in found.items()}


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Keep mean and deviation of the training scores in the config."""
    from llm_core.training.finetuning.sequence_heads import keep

    mean, deviation = scale(job)
    pairs = any("text_pair" in row for row in job.rows["train"])
    keep(job, model, folder, score_mean=mean, score_deviation=deviation, text_pairs=pairs)
    return {"score_mean": mean, "score_deviation": deviation}


def answer(loaded: "LoadedModel", rows: list[Row]) -> list[dict[str, Any]]:
    """`score` of each row's text or pair, in the unit of the training scores."""
    from llm_core.training.finetuning.sequence_heads import logits_of

    config = loaded.network.config
    found = logits_of(loaded, rows)[:, 0].astype(float) * config.score_deviation + config.score_mean
    return [{"score": float(score)} for score in found]


METHOD = Method(
    help="A number for a text or a pair of texts: ratings, grades, similarity.",
    params=Regression,
    fields=("text", "score"),
    kinds=("decoder", "encoder", "encoder-decoder"),
    why_not="a head for numbers needs the states of a language model",
    layouts={
        "pair": Layout("two texts (sentence1, sentence2), score", has_pair, convert_pair),
        "regression": Layout("text, score", has_fields, convert),
    },
    finetune=finetune,
    measure=measure,
    head=HEAD,
    labels=lambda job: ["score"],
    finish=finish,
    baseline=baseline,
    answer=answer,
    default_rows=default_rows,
    compared=lambda row: f"{row['text']} {row.get('text_pair', '')}",
    chat=False,
    loss="squared deviations of the training scores",
    score="negative_absolute_error",
    figures={
        "mean_squared_error": Figure("mean squared error"),
        "mean_absolute_error": Figure("mean absolute error"),
        "negative_absolute_error": Figure("mean absolute error, negated: higher is better"),
        "pearson": Figure("Pearson's correlation, 95 % bootstrap interval"),
        "spearman": Figure("Spearman's rank correlation, 95 % bootstrap interval"),
        "weighted_kappa": Figure("kappa of ordered classes, quadratic weights, 95 % bootstrap interval"),
        "score_mean": Figure("mean of the training scores"),
        "score_deviation": Figure("deviation of the training scores"),
        "training_mean": Figure("mean of the training scores as every answer"),
        "tfidf_ridge_regression": Figure("TF-IDF with ridge regression"),
    },
    use="classify --model {model}",
)
