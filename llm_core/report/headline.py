"""What a run means, in a few sentences: the report's first screen, and the terminal's summary.

They answer five questions: what can the models do, and against what; are they better than the last, by how much, and
how sure is that; what can they not do; from which data are they; what was dropped. Intervals are the evaluation's own.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.evaluation.catalog import main_metric
from llm_core.evaluation.results import by_kind
from llm_core.evaluation.statistics import Difference
from llm_core.formats import names
from llm_core.formats.pages import Block, Row, number, with_ends
from llm_core.report.champion import Champion, Differences
from llm_core.report.documents import Account
from llm_core.report.plots import interval_plot
from llm_core.training.finetuning.registry import methods

ROUNDING = 1e-9
DRAWN = "mixture_share/"  # the shares that `pretraining.mixture` drew, in a model's metrics
MOST = 3  # differences named in a sentence
Models = Mapping[str, Row]
Statement = tuple[str, str]


class Parent(NamedTuple):
    """The model that another was finetuned from, and how the finetuned one differs from it; positive is better."""

    name: str
    differences: Differences
    confidence: float


def headline(
    evaluations: Models,
    models: Models,
    champions: Mapping[str, Champion],
    parents: Mapping[str, Parent],
    counted: Account,
) -> list[Statement]:
    """(question, answer) for everything that was measured."""
    found = [
        (
            "What it can do",
            [*_held_out(evaluations), *(told for name in evaluations for told in _can(name, evaluations[name]))],
        ),
        ("Better than the last?", list(_better(evaluations, champions, parents))),
        ("What it cannot do", list(_cannot(evaluations))),
        ("Its data", list(_data(counted, models))),
        ("What was dropped", list(_dropped(counted))),
    ]
    return [(question, " ".join(answer)) for question, answer in found if answer]


def headline_figures(evaluations: Models) -> Iterator[Block]:
    """Each model's main scores with their intervals, drawn: held-out text, and shares of right answers."""
    text = [
        (name, *ends(whole, "bits_per_byte"), whole.get("xz"))
        for name, metrics in evaluations.items()
        if (whole := metrics.get("bits_per_byte", {}).get("all"))
    ]
    rows = []
    for name, metrics in evaluations.items():
        for task, score in metrics.get("benchmarks", {}).items():
            metric = main_metric(task, score)
            if metric != "perplexity":
                rows.append((names.benchmark(task), name, ends(score, metric), score.get("chance")))
        if answers := metrics.get("answers"):
            for kind, score in by_kind(answers).items():
                task = f"own questions {names.kind(kind)}".strip() + names.guessed(score)
                rows.append((task, name, ends(score, "exact_match"), score["most_frequent_answer"]))
        own = metrics.get("finetuned")
        if own and own["score"] != "exact_match":
            rows.append((_score_title(own), name, ends(own, own["score"]), best(own["baselines"].values())))
    shares = []
    for task, name, found, mark in sorted(rows, key=lambda row: row[0]):
        if all(value is None or -1 <= value <= 1 for value in (*found, mark)):
            value, low, high, tick = (None if value is None else 100 * value for value in (*found, mark))
            shares.append((f"{task}, {name}", value, low, high, tick))
    yield Block(
        "pair",
        [
            Block("figure", plot, caption)
            for plot, caption in (
                (interval_plot(text, "bits per byte"), "Held-out text, less is better. The upright tick is xz -9."),
                (
                    interval_plot(shares, "right answers, %"),
                    "More is better. The upright tick is chance; for own questions, the most frequent answer.",
                ),
            )
            if plot
        ],
    )


def ends(score: Row, metric: str) -> tuple[float | None, float | None, float | None]:
    """A score with the ends of its interval; None for what is not known, of old files from the standard error."""
    value, error = score.get(metric), score.get(f"{metric}_stderr")
    low, high = score.get(f"{metric}_low"), score.get(f"{metric}_high")
    if low is None and value is not None and error is not None:
        low, high = value - 1.96 * error, value + 1.96 * error
    return value, low, high


def is_number(value: float | None) -> bool:
    """Whether a figure is there and finite."""
    return value is not None and math.isfinite(value)


def above_chance(task: str, score: Row) -> bool:
    """Whether the interval's low end is above both baselines by more than rounding: old files have 1.4e-17 for 0."""
    _, low, _ = ends(score, main_metric(task, score))
    return low is not None and low > max(score.get("chance") or 0, score.get("majority") or 0) + ROUNDING


def _held_out(evaluations: Models) -> Iterator[str]:
    """Bits per byte of every model in one sentence; the baselines are those beside the first."""
    read = {name: whole for name, metrics in evaluations.items()
            if (whole := metrics.get("bits_per_byte", {}).get("all"))}  # fmt: skip
    scored = {name: whole for name, whole in read.items() if is_number(whole["bits_per_byte"])}
    if lost := [name for name in read if name not in scored]:
        yield f"The loss of {names.joined(lost)} on held-out text is no number, as of a training that diverged."
    if not scored:
        return
    first, *others = [f"{name} needs {_interval(whole, 'bits_per_byte')}" for name, whole in scored.items()]
    told = [f"{first} bits for each byte of held-out text"]
    whole = next(iter(scored.values()))
    baselines = (("xz", "xz -9"), ("ngram", "an n-gram model"), ("untrained", "random weights"))
    if beside := [f"{label} {number(whole[key], 3)}" for key, label in baselines if is_number(whole.get(key))]:
        told[-1] += f" ({', '.join(beside)})"
    told += [one.replace(" needs ", " ", 1) for one in others[:MOST]]
    if len(others) > MOST:
        told.append(f"{len(others) - MOST} more models below")
    yield f"{'; '.join(told)}."


def _can(name: str, metrics: Row) -> Iterator[str]:
    tasks = metrics.get("benchmarks", {})
    if above := [names.benchmark(task) for task, score in tasks.items() if above_chance(task, score)]:
        yield f"{name} is above chance and the most frequent answer on {names.joined(above)}."
    if preferred := [names.benchmark(task) for task, score in tasks.items() if (score.get("margin_low") or 0) > 0]:
        yield (
            f"{name} gives the right answer fewer bits per byte than the best wrong one, on average, on "
            f"{names.joined(preferred)}."
        )
    if answers := metrics.get("answers"):
        yield from _answered(name, answers)
    own = metrics.get("finetuned")
    if own and not (answers and own["score"] == "exact_match"):
        highest = best(own["baselines"].values())
        beside = [f"{names.words(label)} {number(value)}" for label, value in own["baselines"].items()]
        told = f"{name}: {_score_title(own)} {_interval(own, own['score'])} on {own['items']} test rows"
        if highest is None:
            yield f"{told}."
        else:
            yield f"{told}, {_against(own, own['score'], highest)} its best baseline ({', '.join(beside)})."


def _answered(name: str, answers: Row) -> Iterator[str]:
    """The share of its own questions that a model answers, by kind; those that it can only guess in a sentence of
    their own."""
    kinds = by_kind(answers)
    can = {kind: score for kind, score in kinds.items() if score.get("answerable", True)}
    if can:
        (first, score), *rest = can.items()
        asked = f"{score['items']} questions{first and ' '}{names.kind(first)}"
        told = f"{name} answers {_interval(score, 'exact_match', share=True)} of {asked} exactly, {_lead(score)}"
        others = [
            f"{names.kind(kind)} {names.percent(other['exact_match'])}, {_lead(other)} its "
            f"{names.percent(other['most_frequent_answer'])}"
            for kind, other in rest
        ]
        guess = f"the most frequent answer ({names.percent(score['most_frequent_answer'])})"
        yield f"{told} {guess}{': ' if others else ''}{'; '.join(others)}."
    for kind, score in kinds.items():
        if kind not in can:
            yield (
                f"{name} can only guess {score['items']} questions{kind and ' '}{names.kind(kind)}, because nothing "
                f"that it read has their answers: {names.percent(score['exact_match'])} are right (most frequent "
                f"answer {names.percent(score['most_frequent_answer'])})."
            )


def _better(evaluations: Models, champions: Mapping[str, Champion], parents: Mapping[str, Parent]) -> Iterator[str]:
    if alone := [name for name in evaluations if name not in champions]:
        yield f"There has been no champion before {names.joined(alone)} to compare with."
    for name, champion in champions.items():
        if not champion.differences:
            yield f"{name} and version {champion.version}, the champion before it, were evaluated on other items."
            continue
        verdict = "It may become champion" if champion.decision.passed else "It stays challenger"
        told = _differences(champion.differences, champion.confidence)
        yield f"{name} against version {champion.version}, the champion before it: {told}. {verdict} by its gate."
    for name, parent in parents.items():
        if told := _differences(parent.differences, parent.confidence, only_worse=True):
            yield f"Finetuning made {name} worse than {parent.name} at {told}."


def _differences(found: Differences, confidence: float, only_worse: bool = False) -> str:
    """Better, worse and undecided measures; those by figure of a benchmark are left to the section below."""
    known = {key: item for key, item in found.items() if isinstance(item, Difference) and "/" not in key}
    sides = {
        "better": {key: item for key, item in known.items() if item.low > 0},
        "worse": {key: item for key, item in known.items() if item.high < 0},
    }
    told = []
    for side, items in sides.items():
        named = [f"{names.measure(key)} by {_by(key, item)}" for key, item in list(items.items())[:MOST]]
        more = [f"{len(items) - MOST} more"] if len(items) > MOST else []
        if named and (side == "worse" or not only_worse):
            told.append(f"{'' if only_worse else f'{side} at '}{'; '.join(named + more)}")
        elif side == "worse" and not only_worse:
            told.append("worse at nothing that was measured")
    if only_worse:
        return "; ".join(told) + (f" ({names.percent(confidence)} intervals)" if told else "")
    undecided = [names.measure(key) for key in known if not any(key in items for items in sides.values())]
    if undecided:
        told.append(f"not distinguishable at {names.joined(undecided)}")
    return "; ".join(told) + f" ({names.percent(confidence)} intervals)"


def _by(key: str, item: Difference) -> str:
    low, high = sorted((abs(item.low), abs(item.high)))
    values = (abs(item.difference), low, high)
    if key == "bits_per_byte" or max(values) > 1:
        return "{} ({} to {})".format(*with_ends(*values, digits=2))
    return "{:.1f} points ({:.1f} to {:.1f})".format(*(100 * value for value in values))


def _cannot(evaluations: Models) -> Iterator[str]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, metrics in evaluations.items():
        tasks = metrics.get("benchmarks", {})
        unclear = tuple(names.benchmark(task) for task, score in tasks.items() if not above_chance(task, score))
        if unclear:
            groups.setdefault(unclear, []).append(name)
    for unclear, models in groups.items():
        verb = "is" if len(models) == 1 else "are"
        yield (
            f"{names.joined(models)} {verb} not distinguishable from chance or the most frequent answer on "
            f"{names.joined(list(unclear))}."
        )
    if not any(metrics.get("benchmarks") for metrics in evaluations.values()) and evaluations:
        yield "No benchmark was scored."
    if evaluations:
        yield "Nothing is known about other texts and tasks than those measured here."


def _data(counted: Account, models: Models) -> Iterator[str]:
    if count := len(counted.documents):
        size = number(sum(counted.megabytes.values()), 3)
        sources = f"{count} source{'s' if count > 1 else ''}"
        told = f"{sum(counted.documents.values()):,} documents ({size} MB) of {sources}"
        mix = [f"{source} {names.percent(share)}" for source, share in list(counted.mix.items())[:6]]
        if len(counted.mix) > 6:
            mix.append(f"{len(counted.mix) - 6} more")
        yield f"{told}; of the training text: {', '.join(mix)}." if mix else f"{told}."
    for name, metrics in models.items():
        if "tokens" in metrics and "method" not in metrics:
            available = counted.tokens.get("train")
            of = f" of {names.large(available)} there are" if available else ""
            drawn = {key.removeprefix(DRAWN): share for key, share in metrics.items() if key.startswith(DRAWN)}
            shares = [
                f"{source} {names.percent(share)}" for source, share in sorted(drawn.items(), key=lambda s: -s[1])
            ]
            of += f", drawn from {names.joined(shares)}" if shares else ""
            yield (
                f"{name} ({names.large(metrics['parameters'])} parameters) was trained on "
                f"{names.large(metrics['tokens'])} tokens{of}."
            )


def _dropped(counted: Account) -> Iterator[str]:
    total = sum(counted.documents.values())
    if not total:
        return
    reasons = counted.dropped
    if not reasons:
        yield "Nothing was dropped."
        return
    shown = [f"{count:,} {names.reason(reason)}" for reason, count in list(reasons.items())[:4]]
    if len(reasons) > 4:
        shown.append(f"{sum(list(reasons.values())[4:]):,} for other reasons")
    count = sum(reasons.values())
    yield f"{count:,} of {total:,} documents ({names.percent(count / total)}): {', '.join(shown)}."


def parents_of(evaluations: Models, models: Models) -> dict[str, str]:
    """Model -> the model it was finetuned from, where both were evaluated."""
    found = {name: Path(metrics["parent"]["path"]).name for name, metrics in models.items() if "parent" in metrics}
    return {name: parent for name, parent in found.items() if name in evaluations and parent in evaluations}


def _interval(score: Row, metric: str, share: bool = False) -> str:
    """`1.68 (1.49 to 1.86)`; a share in percent."""
    value, low, high = (None if one is None else 100 * one if share else one for one in ends(score, metric))
    shown = [f"{one} %" if share and one != "no number" else one for one in with_ends(value, low, high, 2)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if "no number" not in shown else shown[0]


def _against(score: Row, metric: str, baseline: float | None) -> str:
    _, low, high = ends(score, metric)
    if baseline is None:
        return "beside"
    if low is not None and low > baseline + ROUNDING:
        return "more than"
    if high is not None and high < baseline - ROUNDING:
        return "less than"
    return "not distinguishable from"


def _lead(answers: Row) -> str:
    """`12.1 points (8.0 to 16.2) more than`, of answers compared with the most frequent one."""
    known = [value for key in ("lead", "lead_low", "lead_high") if (value := answers.get(key)) is not None]
    if len(known) < 3 or not all(math.isfinite(value) for value in known):
        return _against(answers, "exact_match", answers["most_frequent_answer"])
    _, low, high = known
    if low <= ROUNDING and high >= -ROUNDING:
        return "not distinguishable from"
    lead, *between = (100 * abs(value) for value in known)
    told = " to ".join(f"{value:.1f}" for value in sorted(between))
    return f"{lead:.1f} points ({told}) {'more' if low > 0 else 'less'} than"


def best(baselines: Iterable[Any]) -> float | None:
    """The highest of the baselines that are known."""
    return max((value for value in baselines if value is not None), default=None)


def _score_title(own: Row) -> str:
    """Title of a finetune's score: of its method where one describes it."""
    for method in methods().values():
        if method.score == own["score"] and own["score"] in method.figures:
            return method.figure(own["score"]).title
    return names.words(own["score"])
