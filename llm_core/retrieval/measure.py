"""Measures of retrieval: recall, reciprocal rank and nDCG of each search method, and answers with and without it.

Relevance is binary. Recall@k is the share of questions with a relevant passage among the first
k (success@k, as in DPR, Karpukhin et al. 2020); MRR and nDCG use the first 10 and assume one
relevant document per question. Differences are paired on the questions, with bootstrap intervals.
"""

import math
from pathlib import Path
from typing import Any

from llm_core.evaluation.answer_matching import answer_f1, normalize
from llm_core.evaluation.statistics import paired_bootstrap, scored
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.ask import Asker
from llm_core.retrieval.index import Index
from llm_core.retrieval.questions import Question
from llm_core.retrieval.reader import Reader
from llm_core.retrieval.search import METHODS, Method, Search
from llm_core.runtime import progress

DEPTHS = (1, 5, 20)
RANKED = 10


def measure_search(index: Index, questions: list[Question], params: Retrieval, seed: int) -> dict[str, Any]:
    """Scores of every method that the index allows, each with its standard error, and the differences between hybrid
    search and its parts."""
    methods: list[Method] = [method for method in METHODS if method == "bm25" or index.vectors is not None]
    search = Search(index, params)
    search.prepare([question.text for question in questions])
    firsts: dict[Method, list[int | None]] = {method: [] for method in methods}
    with progress.task("search", total=len(questions) * len(methods), unit="queries") as work:
        for method in methods:
            for question in questions:
                firsts[method].append(first_relevant(search, question, method))
                work.update()
    scores: dict[str, Any] = {"questions": len(questions)}
    values = {method: _scores(ranks) for method, ranks in firsts.items()}
    for method in methods:
        scores[method] = {}
        for name, numbers in values[method].items():
            scores[method] |= {key: round(value, 4) for key, value in scored(numbers, name).items()}
    if "hybrid" in methods:
        for other in methods[:-1]:
            found = paired_bootstrap(values["hybrid"]["recall@5"], values[other]["recall@5"], seed=seed)
            scores[f"hybrid_minus_{other}_recall@5"] = {
                "difference": round(found.difference, 4), "low": round(found.low, 4), "high": round(found.high, 4),
            }  # fmt: skip
    return scores


def first_relevant(search: Search, question: Question, method: Method) -> int | None:
    """Rank (from 1) of the first relevant document among the first DEPTHS[-1] passages; None where there is none."""
    for rank, hit in enumerate(search(question.text, DEPTHS[-1], method), start=1):
        if question.relevant(search.index.passage(hit.passage)):
            return rank
    return None


def _scores(ranks: list[int | None]) -> dict[str, list[float]]:
    scores = {f"recall@{depth}": [float(rank is not None and rank <= depth) for rank in ranks] for depth in DEPTHS}
    near = [rank if rank is not None and rank <= RANKED else None for rank in ranks]
    scores[f"mrr@{RANKED}"] = [1 / rank if rank else 0.0 for rank in near]
    scores[f"ndcg@{RANKED}"] = [1 / math.log2(1 + rank) if rank else 0.0 for rank in near]
    return scores


def measure_answers(
    index: Index, questions: list[Question], model: Path, params: Retrieval, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Exact match, F1 and citations of a model with retrieval and without, and a row a question."""
    reader = Reader(model, params.prompt_tokens, params.answer_tokens)
    asker = Asker(Search(index, params), reader, params)
    rows: list[dict[str, Any]] = []
    with progress.task("ask", total=len(questions), unit="questions") as work:
        for question in questions:
            answer = asker(question.text)
            (alone,) = reader([reader.prompt(question.text, [])[0]])
            cited = [question.relevant(row) for row in answer.citations]
            rows.append(
                {
                    "question": question.text,
                    "answers": list(question.answers),
                    "with": answer.text,
                    "without": alone,
                    "refused": answer.refused,
                    "supported": answer.supported,
                    "exact_with": float(not answer.refused and exact(answer.text, question.answers)),
                    "exact_without": float(exact(alone, question.answers)),
                    "f1_with": 0.0 if answer.refused else overlap(answer.text, question.answers),
                    "f1_without": overlap(alone, question.answers),
                    "citation_precision": sum(cited) / len(cited) if cited else None,
                }
            )
            work.update()
    scores: dict[str, Any] = {"questions": len(rows), "refused": sum(row["refused"] for row in rows)}
    for name in ("exact_with", "exact_without", "f1_with", "f1_without"):
        scores |= {key: round(value, 4) for key, value in scored([row[name] for row in rows], name).items()}
    for name in ("exact", "f1"):
        gain = paired_bootstrap([r[f"{name}_with"] for r in rows], [r[f"{name}_without"] for r in rows], seed=seed)
        scores[f"{name}_gain"] = {
            "difference": round(gain.difference, 4), "low": round(gain.low, 4), "high": round(gain.high, 4),
        }  # fmt: skip
    cited_rows = [row["citation_precision"] for row in rows if row["citation_precision"] is not None]
    if cited_rows:
        scores["citation_precision"] = round(sum(cited_rows) / len(cited_rows), 4)
    return scores, rows


def exact(answer: str, answers: tuple[str, ...]) -> bool:
    """SQuAD's exact match against any of `answers`."""
    return normalize(answer) in {normalize(gold) for gold in answers}


def overlap(answer: str, answers: tuple[str, ...]) -> float:
    """SQuAD's F1 over words, the best over `answers`."""
    return max((answer_f1(answer, gold) for gold in answers), default=0.0)
