"""What a model must beat on a benchmark, item by item: a blind guess, and always the same answer.

`chance` is the expected accuracy of a guess among an item's choices. `majority` is the score of the answer that is most
often right among the scored items: the choice at one position, or one text. A task of classes (yes or no) shows there
how unequal its classes are.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from llm_core.evaluation.answer_matching import normalize
from llm_core.evaluation.gold import gold_choices

BASELINES = ("chance", "majority")


def baselines(task: Any, samples: Sequence[dict[str, Any]], own: bool) -> dict[int, dict[str, float]]:
    """`doc_id` -> the baselines' scores on that item; {} where there is none.

    `task` is lm-eval's object, `samples` its scored items. `own`: a file of questions with texts as answers.
    """
    docs = {sample["doc_id"]: sample["doc"] for sample in samples}
    if task.OUTPUT_TYPE == "multiple_choice":
        gold = {number: gold_choices(task, doc) for number, doc in docs.items()}
        position = _most_frequent(str(places[0]) for places in gold.values() if places)
        return {
            number: {
                "chance": len(gold[number]) / len(task.doc_to_choice(doc)),
                "majority": float(position in map(str, gold[number])),
            }
            for number, doc in docs.items()
        }
    if own:
        normal = {normalize(doc["answers"][0]): doc["answers"][0] for doc in reversed(docs.values())}
        text = normal[_most_frequent(normalize(doc["answers"][0]) for doc in docs.values())]
        return {number: {"majority": _first(task.process_results(doc, [text]))} for number, doc in docs.items()}
    return {number: {} for number in docs}


def _most_frequent(values: Any) -> str:
    """The most frequent one; of equally frequent ones the first in the alphabet."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value), default="")


def _first(scores: dict[str, float]) -> float:
    return float(next(iter(scores.values())))
