"""BLEU, chrF, ROUGE and classification metrics of texts that lie in files, with intervals; several systems are paired.

Scores are those of the reference packages (sacrebleu with its signature, rouge-score, scikit-learn's
definitions). Each metric is also a function of sums over items (n-gram counts, say), so that one
bootstrap serves all: it resamples items, sums their statistics and scores the sums (Koehn 2004). sacrebleu's own
bootstrap does the same; its statistics come from methods that its module `significance` uses as well.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from llm_core.errors import UserError
from llm_core.evaluation.statistics import detectable, equal_pairs_error
from llm_core.evaluation.text_tokenizers import WordTokenizer, bleu_tokenizer, rouge_tokenizer
from llm_core.params.evaluation import TextMetrics
from llm_core.runtime import json_lines
from llm_core.runtime.shares import wilson

Kind = Literal["translation", "summarization", "classification"]
Array = npt.NDArray[np.float64]
WHOLE = re.compile(r"^([+-]?\d+)\.0+$")
BLOCK = 1 << 24  # weights held in memory at once


class Measured(NamedTuple):
    """One metric of one system."""

    value: float
    """the reference package's own figure for the whole file"""
    statistics: Array
    """(items, k); the metric depends on their sum over items alone"""
    score: Callable[[Array], float]
    """the metric from the sums, shape (k,)"""
    signature: str = ""
    ends: tuple[float, float] = (0.0, 1.0)
    """lowest and highest value that the metric can have"""
    share: bool = False
    """whether it is a share of items that are right"""


def read_lines(file: Path, key: str = "text") -> list[str]:
    """One text a line, or the field `key` of each line of a .jsonl file (for texts with line breaks in them).

    Raises UserError where there is no such file or field, naming the line.
    """
    if file.suffix != ".jsonl":
        try:
            return json_lines.text_lines(file.read_bytes().decode("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    texts = []
    for number, row in json_lines.read_rows(file):
        if key not in row:
            raise UserError(f"{file}:{number}: needs a JSON object with the field '{key}'")
        value = row[key]
        if isinstance(value, list | dict) or value is None or (isinstance(value, float) and not math.isfinite(value)):
            raise UserError(f"{file}:{number}: '{key}' is {json.dumps(value)[:40]}; a text or a number is needed")
        texts.append(str(value))
    return texts


def read_labels(file: Path, key: str = "text") -> list[str]:
    """One label a line: blanks around it are no part of it, and a whole number has one spelling (`1.0` is `1`).

    Raises UserError as `read_lines` does, and where a label is empty.
    """
    labels = [label.strip() for label in read_lines(file, key)]
    for number, label in enumerate(labels, start=1):
        if not label:
            raise UserError(f"{file}:{number}: an empty label; each line needs one")
    return [WHOLE.sub(r"\1", label) for label in labels]


def measure(kind: Kind, texts: list[str], references: list[list[str]], params: TextMetrics) -> dict[str, Measured]:
    """Metrics of one system. `references` holds one list a reference file, each as long as `texts`."""
    if kind == "translation":
        return _translation(texts, references, params)
    if kind == "summarization":
        return _summarization(texts, references, params)
    return _classification(texts, references[0])


def compare_systems(
    kind: Kind, systems: dict[str, list[str]], references: list[list[str]], params: TextMetrics, seed: int,
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Scores of each system with intervals, and each one's paired differences from the first.

    With `groups`, the items of one group depend on each other, and whole groups are resampled. Where there is one
    group, nothing is known of others: ends of intervals, errors and `detectable` are None, and no system is better.

    Raises UserError where files have different numbers of lines, or there are fewer than two.
    """
    sizes = {name: len(texts) for name, texts in systems.items()}
    sizes |= {f"reference {number}": len(lines) for number, lines in enumerate(references, start=1)}
    if len(set(sizes.values())) > 1:
        sizes_told = ", ".join(f"{name} has {size:,}" for name, size in sizes.items())
        raise UserError(f"one line an item is needed in each file: {sizes_told}")
    items = next(iter(sizes.values()))
    if items < 2:
        raise UserError(f"{items} items: an interval needs at least two")
    if kind == "classification" and len(references) > 1:
        raise UserError("classification: give one file of references")
    everything = [text for group in (*systems.values(), *references) for text in group]
    params = params.model_copy(
        update={
            "bleu_tokenize": bleu_tokenizer(params.bleu_tokenize, everything),
            "rouge_tokenize": rouge_tokenizer(params.rouge_tokenize, everything),
        }
    )
    measured = {name: measure(kind, texts, references, params) for name, texts in systems.items()}
    alone = groups is not None and len(set(groups)) < 2
    if groups is not None:
        measured = {
            name: {metric: _by_group(found, groups) for metric, found in metrics.items()}
            for name, metrics in measured.items()
        }
    tail = (1 - params.confidence) / 2
    drawn: dict[str, dict[str, Array]] = {name: {} for name in systems}
    for name, metrics in measured.items():
        for metric, found in metrics.items():
            drawn[name][metric] = resampled(found, params.resamples, seed)
    scores: dict[str, Any] = {}
    for name, metrics in measured.items():
        scores[name] = {}
        for metric, found in metrics.items():
            low, high, error = _interval(found, drawn[name][metric], params.confidence)
            known = {
                "low": low,
                "high": high,
                "stderr": error,
                "detectable": detectable(error * 2**0.5, params.confidence),
            }
            scores[name][metric] = {"value": found.value, **(dict.fromkeys(known) if alone else known)}
            if found.signature:
                scores[name][metric]["signature"] = found.signature
    first = next(iter(systems))
    differences: dict[str, Any] = {}
    for name in [name for name in systems if name != first]:
        differences[name] = {}
        for metric in measured[name]:
            changes = drawn[name][metric] - drawn[first][metric]  # the same items in each resample: paired
            low, high = (float(bound) for bound in np.quantile(changes, [tail, 1 - tail]))
            error = float(changes.std(ddof=1))
            difference = measured[name][metric].value - measured[first][metric].value
            width = measured[name][metric].ends[1] - measured[name][metric].ends[0]
            if measured[name][metric].share and error <= 1e-12 * width:  # all resamples equal is not certainty
                error = width * equal_pairs_error(difference / width, items)
                half = NormalDist().inv_cdf(1 - tail) * error
                low, high = difference - half, difference + half
            known = {"low": low, "high": high, "detectable": detectable(error, params.confidence)}
            differences[name][metric] = {
                "difference": difference,
                **(dict.fromkeys(known) if alone else known),
                "verdict": "not distinguishable" if alone or low <= 0 <= high else "better" if low > 0 else "worse",
            }
    return {"kind": kind, "items": items, "references": len(references), "confidence": params.confidence,
            "resamples": params.resamples, "scores": scores, "against": first, "differences": differences}  # fmt: skip


def _by_group(found: Measured, groups: Sequence[str]) -> Measured:
    """The metric with the sums of each group's statistics in place of the items'."""
    names, place = np.unique(np.asarray(groups, str), return_inverse=True)
    columns = [np.bincount(place, column, len(names)) for column in found.statistics.T]
    return found._replace(statistics=np.stack(columns, 1))


def _interval(found: Measured, drawn: Array, confidence: float) -> tuple[float, float, float]:
    """(low, high, standard error): percentiles of the resamples, but Wilson's interval for a share of right items.

    Where every resample gives the same value (identical files), Wilson's holds for any metric: at most as certain as a
    share of so many items.
    """
    bottom, top = found.ends
    error = float(drawn.std(ddof=1))
    if found.share or error <= 1e-12 * (top - bottom):
        items = len(found.statistics)
        share = min(max((found.value - bottom) / (top - bottom), 0.0), 1.0)
        low, high = (bottom + (top - bottom) * end for end in wilson(share * items, items, confidence))
        agresti = (share * items + 2) / (items + 4)
        return low, high, error or (top - bottom) * math.sqrt(agresti * (1 - agresti) / (items + 4))
    tail = (1 - confidence) / 2
    low, high = (float(bound) for bound in np.quantile(drawn, [tail, 1 - tail]))
    return low, high, error


def resampled(found: Measured, resamples: int, seed: int) -> Array:
    """The metric on `resamples` draws of the items with replacement; the same draws for the same count and seed."""
    count = len(found.statistics)
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // count)
    values: list[float] = []
    for start in range(0, resamples, step):
        weights = generator.multinomial(count, np.full(count, 1 / count), min(step, resamples - start))
        values += [found.score(row) for row in weights @ found.statistics]
    return np.array(values)


def _translation(texts: list[str], references: list[list[str]], params: TextMetrics) -> dict[str, Measured]:
    from sacrebleu.metrics import BLEU, CHRF

    chrf_name = "chrF" + "+" * params.chrf_word_order
    tokenizer = bleu_tokenizer(params.bleu_tokenize, [text for group in (texts, *references) for text in group])
    bleu = BLEU(tokenize=tokenizer, lowercase=params.lowercase)
    if not any(bleu.corpus_score(one, [one]).totals[-1] for one in references):
        # no reference has 4 words: the longest n-grams that there are, for every system
        bleu = BLEU(tokenize=tokenizer, lowercase=params.lowercase, effective_order=True)
    metrics = {
        "BLEU": bleu,
        chrf_name: CHRF(word_order=params.chrf_word_order, lowercase=params.lowercase),
    }
    found = {}
    for name, metric in metrics.items():
        value = metric.corpus_score(texts, references).score
        statistics = np.array(metric._extract_corpus_statistics(texts, references), np.float64)

        def score(sums: Array, metric: Any = metric) -> float:
            return float(metric._compute_score_from_stats([round(part) for part in sums]).score)

        found[name] = Measured(float(value), statistics, score, str(metric.get_signature()), (0.0, 100.0))
    return found


def _summarization(texts: list[str], references: list[list[str]], params: TextMetrics) -> dict[str, Measured]:
    import importlib.metadata

    from rouge_score.rouge_scorer import RougeScorer

    kind_of_words = rouge_tokenizer(params.rouge_tokenize, [text for group in (texts, *references) for text in group])
    own = WordTokenizer(params.rouge_stemmer) if kind_of_words == "words" else None
    scorer = RougeScorer(list(params.rouge), use_stemmer=params.rouge_stemmer, tokenizer=own)
    rows = [scorer.score_multi(list(wanted), text) for text, *wanted in zip(texts, *references, strict=True)]
    found: dict[str, Measured] = {}
    stemmed = "yes" if params.rouge_stemmer else "no"
    version = importlib.metadata.version("rouge-score")
    signature = f"nrefs:{len(references)}|tok:{kind_of_words}|stem:{stemmed}|version:{version}"
    for kind in params.rouge:
        values = np.array([row[kind].fmeasure for row in rows])
        found[kind] = Measured(float(values.mean()), _with_count(values), _mean, signature)
    return found


def _classification(texts: list[str], wanted: list[str]) -> dict[str, Measured]:
    import importlib.metadata

    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    labels = sorted(set(wanted) | set(texts))
    place = {label: number for number, label in enumerate(labels)}
    given, true = np.array([place[t] for t in texts]), np.array([place[t] for t in wanted])
    each = np.eye(len(labels))
    right = (given == true).astype(np.float64)
    statistics = np.concatenate([each[true] * right[:, None], each[given], each[true]], axis=1)
    signature = f"labels:{len(labels)}|version:scikit-learn-{importlib.metadata.version('scikit-learn')}"
    f1 = f1_score(true, given, labels=range(len(labels)), average="macro", zero_division=0)
    return {
        "accuracy": Measured(float(accuracy_score(true, given)), _with_count(right), _mean, signature, share=True),
        "macro F1": Measured(float(f1), statistics, _macro_f1, signature),
        "Matthews correlation": Measured(
            float(matthews_corrcoef(true, given)), statistics, _matthews, signature, (-1.0, 1.0)
        ),
    }


def _with_count(values: Sequence[float] | Array) -> Array:
    return np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1)


def _mean(sums: Array) -> float:
    return float(sums[0] / sums[1])


def _macro_f1(sums: Array) -> float:
    right, given, true = sums.reshape(3, -1)
    both = given + true
    return float(np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0).mean())


def _matthews(sums: Array) -> float:
    """Of more than two classes (Gorodkin 2004), as scikit-learn has it; 0 where one side is all of one class."""
    right, given, true = sums.reshape(3, -1)
    count = true.sum()
    spread = (count**2 - (given**2).sum()) * (count**2 - (true**2).sum())
    return float((right.sum() * count - (given * true).sum()) / np.sqrt(spread)) if spread > 0 else 0.0
