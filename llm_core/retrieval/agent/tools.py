"""The tools an agent may use. None starts a process, opens a connection or writes a file.

`calculate` walks a parsed expression: numbers and arithmetic only, so that no name, call or
attribute is ever evaluated, and no power grows without bound. `search` returns text of
unknown authors: it is marked as such, cut to a length, and stripped of the words with which
a step of the agent begins, so that a passage cannot look like the agent's own step.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from llm_core.retrieval.passages import cited
from llm_core.retrieval.search import Search
from llm_core.runtime.terminal import printable

PASSAGE_CHARACTERS = 600
LARGEST = 1e15
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
STEP = re.compile(r"(?im)^\s*(thought|action input|action|observation|answer)\s*:")


def calculator(expression: str) -> str:
    """The value of an arithmetic expression (numbers, + - * / // % ** and brackets), or what is wrong with it."""
    try:
        value = _value(ast.parse(expression.replace(",", "").strip(), mode="eval").body)
    except (ValueError, SyntaxError, ZeroDivisionError, OverflowError, RecursionError, MemoryError) as error:
        return f"not calculated: {error or 'not an arithmetic expression'}"
    return f"{value:.10g}"


def _value(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        value = float(node.value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow) and (abs(right) > 64 or (left < 0 and not right.is_integer())):
            raise ValueError("the power is too large or not real")
        value = float(OPERATORS[type(node.op)](left, right))
    else:
        raise ValueError("only numbers and arithmetic are allowed")
    if not abs(value) <= LARGEST:
        raise ValueError("the number is too large")
    return value


def corpus_search(search: Search, top: int) -> Callable[[str], str]:
    """A tool that quotes the best `top` passages, each with its document's id."""

    def find(query: str) -> str:
        """Search the corpus; returns quoted passages with the ids of their documents."""
        quotes = []
        for hit in search(query, top):
            row = search.index.passage(hit.passage)
            name, text = quoted(row["document_id"], 200), quoted(row["text"], PASSAGE_CHARACTERS)
            quotes.append(f"[{name}] {quoted(cited(row), 200)} <<{text}>>")
        return "\n".join(quotes) or "nothing found"

    return find


def quoted(text: str, length: int) -> str:
    """Text of others as one line that cannot look like a step of the agent and cannot end its own quotation."""
    line = " ".join(printable(STEP.sub(r"(\1)", text[:length])).split())
    return STEP.sub(r"(\1)", line).replace("<<", "< <").replace(">>", "> >")


def tracker(runs: Callable[[str], Mapping[str, float]]) -> Callable[[str], str]:
    """A tool that reads the last metrics of a stage; `runs` looks them up (`tracking.last_metrics`)."""

    def experiments(stage: str) -> str:
        """Metrics of the newest finished run of a stage: pretrain, evaluate, finetune."""
        found = runs(stage.strip().strip("\"'"))
        return ", ".join(f"{name} {value:.6g}" for name, value in sorted(found.items())) or "no such run"

    return experiments
