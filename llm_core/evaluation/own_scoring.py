"""How an answer to a question of an own benchmark is judged, as functions that lm-eval-harness calls.

A task's definition names them (`process_results: !function llm_core.evaluation.own_scoring.f1`), so its command line
scores the same. Of several right answers the best match counts, as in SQuAD.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.evaluation.answer_matching import answer_f1, normalize

Doc = Mapping[str, Any]


def exact_match(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """Whether the answer equals one of `doc["answers"]` in SQuAD's normal form, and its F1."""
    said = results[0]
    same = any(normalize(said) == normalize(answer) for answer in doc["answers"])
    return {"exact_match": float(same), "f1": max(answer_f1(said, answer) for answer in doc["answers"])}


def f1(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """The same, F1 first."""
    found = exact_match(doc, results)
    return {"f1": found["f1"], "exact_match": found["exact_match"]}


def regex(doc: Doc, results: Sequence[str]) -> dict[str, float]:
    """Whether what the pattern found is one of `doc["answers"]`, letter by letter but for blanks at the ends."""
    return {"exact_match": float(results[0].strip() in [answer.strip() for answer in doc["answers"]])}
