"""Tools: correct results, and no access to anything else."""

import pytest

from llm_core.retrieval.agent.tools import calculator, tracker


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", "14"),
        ("-(1,000 - 1) / 2", "-499.5"),
        ("2 ** 10 % 1000", "24"),
        ("7 // 2", "3"),
        ("1/3", "0.3333333333"),
    ],
)
def test_arithmetic(expression: str, value: str) -> None:
    assert calculator(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "open('x')", "a", "'a' * 9", "9 ** 9 ** 9", "1 / 0", "(1).real", "True + 1", "1 if 1 else 2",
     "lambda: 1", "(-8) ** 0.5", "", "(" * 5000 + "1" + ")" * 5000, "10 ** 16"],
)  # fmt: skip
def test_nothing_but_arithmetic_is_evaluated(expression: str) -> None:
    assert calculator(expression).startswith("not calculated")


def test_the_tracker_reads_and_says_when_there_is_nothing() -> None:
    runs = {"pretrain": {"loss": 4.5, "heldout_bits_per_byte": 2.1}}
    read = tracker(lambda stage: runs.get(stage, {}))
    assert read('"pretrain"') == "heldout_bits_per_byte 2.1, loss 4.5"
    assert read("x") == "no such run"
