"""Tasks whose answers can be checked: look a fact up, calculate, read the tracker.

Lookups are the Factbook questions about countries that no training saw; sums are drawn by
the seed; tracker tasks ask for metrics of the existing runs.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from llm_core.evaluation.answer_matching import normalize
from llm_core.retrieval.agent.tools import calculator
from llm_core.retrieval.questions import Question

TOLERANCE = 0.005  # relative error of a number


@dataclass(frozen=True)
class Task:
    """A question, the kind of tool that it needs, and the accepted answers."""

    question: str
    kind: str
    answers: tuple[str, ...]

    def solved(self, answer: str) -> bool:
        """Whether `answer` is one of the answers: the same words, or a number within TOLERANCE."""
        return any(normalize(answer) == normalize(gold) or _close(answer, gold) for gold in self.answers)


def build(questions: list[Question], metrics: Mapping[str, Mapping[str, float]], count: int, seed: int) -> list[Task]:
    """`count` tasks of each kind (for the tracker, as many as there are metrics)."""
    generator = random.Random(seed)
    chosen = generator.sample(questions, min(count, len(questions)))
    tasks = [Task(question.text, "lookup", question.answers) for question in chosen]
    for _ in range(count):
        a, b, c = generator.randint(100, 9999), generator.randint(10, 999), generator.randint(2, 99)
        expression = generator.choice([f"{a} * {b} - {c}", f"({a} + {b}) / {c}", f"{a} - {b} * {c}"])
        tasks.append(Task(f"What is {expression}?", "calculate", (calculator(expression),)))
    known = [(stage, name, value) for stage, found in metrics.items() for name, value in sorted(found.items())]
    for stage, name, value in generator.sample(known, min(count, len(known))):
        tasks.append(Task(f"What is the {name} of the last {stage} run?", "tracker", (f"{value:.6g}",)))
    return tasks


def _close(answer: str, gold: str) -> bool:
    try:
        said, wanted = float(answer.replace(",", "").strip(" .%$")), float(gold)
    except ValueError:
        return False
    return abs(said - wanted) <= TOLERANCE * abs(wanted)
