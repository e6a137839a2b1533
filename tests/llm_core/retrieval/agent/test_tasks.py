"""Tasks are checkable, and the measure counts what was solved."""

from llm_core.retrieval.agent.loop import Transcript
from llm_core.retrieval.agent.measure import measure
from llm_core.retrieval.agent.tasks import Task, build
from llm_core.retrieval.agent.tools import calculator
from llm_core.retrieval.questions import Question


def test_a_solver_of_sums_solves_the_sums_only() -> None:
    questions = [Question(f"What is the capital of {n}?", (f"City {n}",)) for n in range(9)]
    tasks = build(questions, {"pretrain": {"loss": 4.5}}, count=4, seed=3)
    assert [task.kind for task in tasks] == ["lookup"] * 4 + ["calculate"] * 4 + ["tracker"]
    assert tasks == build(questions, {"pretrain": {"loss": 4.5}}, count=4, seed=3)

    def attempt(question: str) -> Transcript:
        return Transcript(answer=calculator(question.removeprefix("What is ").rstrip("?")), tokens=1)

    scores = measure(tasks, attempt)
    assert scores["calculate"]["solved"] == 4 and scores["lookup"]["solved"] == scores["tracker"]["solved"] == 0
    assert scores["all"]["rate"] == round(4 / 9, 4) and scores["all"]["low"] < 4 / 9 < scores["all"]["high"]


def test_what_counts_as_solved() -> None:
    assert Task("Q", "lookup", ("Phnom Penh",)).solved("the Phnom Penh.")
    assert Task("Q", "calculate", ("1234.5",)).solved("1,234") and not Task("Q", "calculate", ("1234.5",)).solved(
        "1300"
    )
    assert not Task("Q", "calculate", ("5",)).solved("")
