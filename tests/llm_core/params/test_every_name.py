"""Every param that holds names is classified: what checks a name, or why any name is accepted. A new param must be
added."""

import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from llm_core.cli import main
from llm_core.params import Params, finetuning
from llm_core.params.quality import rules
from llm_core.params.sources import BUILT_IN

WORDS = [" ".join(f"word{letter}{n * n % 83}" for n in range(80)) for letter in "abcdefghijklmnopqrst"]
FETCH, CLEAN = ["fetch", "s", "--out", "out"], ["clean", "--in", "a.jsonl", "--out", "out"]
BENCHMARKS = ["fetch-benchmarks", "--out", "out"]
SOURCE = {"kind": "files", "paths": ["a.jsonl"], "license": "x"}

UNKNOWN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "sources": ({"sources": {"s": SOURCE}}, ["fetch", "zz", "--out", "out"]),
    "sources.columns": ({"sources": {"s": {**SOURCE, "columns": {"zz": "text"}}}}, FETCH),
    "sources.columns (of the file)": ({"sources": {"s": {**SOURCE, "columns": {"url": "zz"}}}}, FETCH),
    "sources.subsets": ({"sources": {"s": {**SOURCE, "kind": "pile", "subsets": ["zz", "Set"]}}}, FETCH),
    "sources.attributes": (
        {"sources": {"s": {**SOURCE, "kind": "dolma", "paths": ["documents"], "attributes": ["zz"]}}}, FETCH,
    ),
    "sources.paths": ({"sources": {"s": {**SOURCE, "paths": ["a.jsonl", "zz"]}}}, FETCH),
    "sources.address_list": ({"sources": {"s": {**SOURCE, "paths": [], "address_list": "zz"}}}, FETCH),
    "cleaning.steps": ({"cleaning": {"steps": ["repair", "zz"]}}, CLEAN),
    "cleaning.recipes": ({"cleaning": {"recipes": {"zz": [{"rule": "zz"}]}}}, CLEAN),
    "cleaning.recipes (a step's name)": ({"cleaning": {"recipes": {"repair": [{"rule": "c4"}]}}}, CLEAN),
    "cleaning.recipes.language": ({"cleaning": {"recipes": {"a": [{"rule": "c4", "language": "zz"}]}}}, CLEAN),
    "cleaning.repair.characters": ({"cleaning": {"repair": {"characters": {"zz": {"a": "b"}}}}}, CLEAN),
    "cleaning.language.keep": ({"cleaning": {"language": {"keep": ["zz"]}}}, CLEAN),
    "cleaning.pii.placeholders": ({"cleaning": {"pii": {"placeholders": {"zz": "x"}}}}, CLEAN),
    "cleaning.url_lists.path": (
        {"cleaning": {"steps": ["block_urls"], "url_lists": [{"name": "a", "path": "zz"}]}}, CLEAN,
    ),
    "cleaning.bad_words.files": ({"cleaning": {"steps": ["bad_words"], "bad_words": {"files": ["zz"]}}}, CLEAN),
    "cleaning.quality_model.path": ({"cleaning": {"steps": ["model"], "quality_model": {"path": "zz"}}}, CLEAN),
    "cleaning.recipes.path": (
        {"cleaning": {"steps": ["a"], "recipes": {"a": [{"rule": "perplexity", "path": "zz"}]}}}, CLEAN,
    ),
    "cleaning.exempt": ({"cleaning": {"exempt": ["zz"]}}, CLEAN),
    "deduplication.priority": ({"deduplication": {"priority": ["zz"]}}, ["dedup", "--in", "a.jsonl", "--out", "out"]),
    "deduplication.max_dropped_share_by_source": (
        {"deduplication": {"max_dropped_share_by_source": {"zz": 1}}}, ["dedup", "--in", "a.jsonl", "--out", "out"],
    ),
    "split.group_by": ({"split": {"group_by": {"zz": "x"}}}, ["split", "--in", "a.jsonl", "--out", "out"]),
    "split.group_by (a field)": ({"split": {"group_by": {"a": "zz"}}}, ["split", "--in", "a.jsonl", "--out", "out"]),
    "mix.weights": ({"mix": {"weights": {"zz": 1}}}, ["mix", "--in", ".", "--out", "out"]),
    "tokenizer.weights": (
        {"tokenizer": {"vocab_size": 300, "weights": {"zz": 1}}},
        ["train-tokenizer", "--in", "a.jsonl", "--out", "out"],
    ),
    "model.family": ({"model": {"family": "zz"}}, ["params"]),
    "finetuning.RUNS": ({"finetuning": {"runs": {"zz": {}}}}, ["params"]),
    "finetuning.RUNS.method": ({"finetuning": {"on_demand": {"a": {"method": "zz"}}}}, ["params"]),
    "finetuning.RUNS.data.format": (
        {"finetuning": {"runs": {"a": {"method": "instruction", "data": {"format": "zz"}}}}}, ["params"],
    ),
    "evaluation.benchmarks.own.path": (
        {"evaluation": {"benchmarks": {"tasks": [], "own": {"a": {"path": "zz.jsonl", "kind": "f1"}}}}}, BENCHMARKS,
    ),
    "evaluation.benchmarks.own.columns": (
        {"evaluation": {"benchmarks": {"own": {"a": {"path": "a.jsonl", "kind": "f1", "columns": {"zz": "text"}}}}}},
        ["params"],
    ),
    "evaluation.benchmarks.own.columns (of the file)": (
        {"evaluation": {"benchmarks": {"tasks": [], "own": {
            "a": {"path": "a.jsonl", "kind": "f1", "columns": {"question": "zz"}}}}}}, BENCHMARKS,
    ),
    "evaluation.benchmarks.own.prompt": (
        {"evaluation": {"benchmarks": {"tasks": [], "own": {
            "a": {"path": "a.jsonl", "kind": "f1", "columns": {"question": "text"}, "prompt": "{{zz}}{{question}}"}}}}},
        BENCHMARKS,
    ),
    "evaluation.benchmarks.tasks": (
        {"evaluation": {"benchmarks": {"tasks": ["zz"]}}}, ["fetch-benchmarks", "--out", "out"],
    ),
    "evaluation.text_metrics.rouge": ({"evaluation": {"text_metrics": {"rouge": ["zz"]}}}, ["params"]),
    "scaling.rungs.model": ({"scaling": {"rungs": {"a": {"tokens": 1, "model": {"zz": 1}}}}}, ["params"]),
    "scaling.pretraining": ({"scaling": {"pretraining": {"zz": 1}}}, ["params"]),
    "scaling.check": ({"scaling": {"check": "zz"}}, ["params"]),
    "ablation.model": ({"ablation": {"model": {"zz": 1}}}, ["params"]),
    "ablation.pretraining": ({"ablation": {"pretraining": {"optimizer": {"zz": 1}}}}, ["params"]),
    "retrieval.sources": (
        {"retrieval": {"sources": ["a", "zz"], "encoder": "none"}}, ["index", "--in", "a.jsonl", "--out", "out"],
    ),
    "retrieval.encoder": ({"retrieval": {"encoder": "zz"}}, ["index", "--in", "a.jsonl", "--out", "out"]),
    "word2vec.neighbours_of": (
        {"word2vec": {"neighbours_of": ["zz"], "min_count": 1, "epochs": 1}},
        ["word2vec", "--in", "a.jsonl", "--out", "out"],
    ),
}  # fmt: skip
"""param -> params with a name that there is not (zz), and a verb that must refuse it"""

ELSEWHERE = {
    "sources.members": "tests/llm_core/network/test_archives.py",
    "sources.urls": "common_crawl: a pattern without a capture is an error",
    "sources.split": "tests/llm_core/corpus/sources/test_hub.py",
    "sources.config": "tests/llm_core/corpus/sources/test_hub.py",
    "sources.dataset": "tests/llm_core/corpus/sources/test_hub.py",
    "sources.kind": "tests/llm_core/params/test_params.py",
    "sources.crawl": "the server has no list of that crawl's files",
    "launch.pretraining.hostfile": "a file that must be there (training/pretraining/launch.py)",
    "launch.scaling.hostfile": "the same",
    "launch.ablation.hostfile": "the same",
    "pretraining.deepspeed": "tests/llm_core/training/pretraining/test_deepspeed_keys.py",
    "launch.storage.address": "tests/llm_core/runtime/test_object_storage.py",
    "pretraining.mixture.weights": "tests/llm_core/training/pretraining/test_mixture.py",
    "pretraining.mixture.epochs": "tests/llm_core/training/pretraining/test_mixture.py",
    "pretraining.phases": "the section's own keys, which pydantic checks",
    "pretraining.phases.mixture.weights": "tests/llm_core/training/pretraining/test_phases.py",
    "pretraining.phases.mixture.epochs": "tests/llm_core/training/pretraining/test_phases.py: the same check",
    "pretraining.parent": "tests/llm_core/training/pretraining/test_origins.py",
    "finetuning.RUNS.parent": "a folder that must be there, by DVC's dependency and by the verb",
    "finetuning.RUNS.data.path": "a file or folder that must be there, by DVC's dependency and by the verb",
    "finetuning.RUNS.data.columns": "training/finetuning/data/dataset.py: a column that no row has is an error",
    "finetuning.RUNS.data.group": "training/finetuning/data/dataset.py: a column that no row has is an error",
    "finetuning.RUNS.gate.metrics": "a metric that was not measured passes no gate",
    "finetuning.*.lora.target_modules": "tests/llm_core/training/finetuning/test_adapters.py",
    "finetuning.rlhf.reward": "training/finetuning/methods/rlhf.py: neither a reward, a pattern nor a folder",
    "evaluation.models": "a folder that must be there, by DVC's dependency and by the verb",
    "evaluation.tasks": "tests/llm_core/evaluation: a task whose items were not fetched",
    "evaluation.benchmarks.own.judge.model": "tests/llm_core/evaluation/test_judge.py",
    "evaluation.benchmarks.own.judge.prompt": "tests/llm_core/evaluation/test_judge.py",
    "evaluation.benchmarks.revisions": "tests/llm_core/evaluation/test_hub.py",
    "evaluation.gate.metrics": "tests/llm_core/evaluation/test_gate.py: a metric that was not measured passes no gate",
    "finetuning.datasets.path": "the hub has no data set of that name",
    "finetuning.datasets.name": "the hub's data set has no such configuration",
    "finetuning.datasets.split": "the hub's data set has no such part",
    "finetuning.datasets.revision": "the hub's data set has no such commit",
    "retrieval.questions.path": "a file that must be there, by DVC's dependency and by the verb",
    "retrieval.questions.model": "a folder that must be there, by DVC's dependency and by the verb",
    "open_models.from_": "a folder, or a pinned commit of the hub, that must be there",
    "open_models.revision": "the hub's model has no such commit",
    "tokenizer.from_": "params/open_models.py: a model that must be there",
    "checks.retention_min_by_source": "tests/llm_core/checks/test_checks.py",
    "cleaning.recipes.rule": "the type of a recipe",
    "cleaning.recipes.keep": "the type: head, middle, tail",
}
"""param -> where the name is checked, and tested"""

FREE = {
    "pretraining.phases.name": "the name of a phase, in the log and in figures",
    "model.speedrun.window_pattern": "letters, a pattern",
    "finetuning.RUNS.data.label_separator": "any text may stand between labels",
    "network.cache": "a folder that is made",
    "sources.package": "pinned by sha256", "sources.version": "pinned by sha256", "sources.filename": "a pattern",
    "sources.sha256": "a pattern", "sources.license": "any text", "sources.revision": "a pattern",
    "sources.url_pattern": "a regular expression; a source that keeps nothing is an error",
    "sources.base": "an address", "sources.index": "an address",
    "cleaning.url_lists": "a list of sections", "cleaning.url_lists.name": "the name that a reason gets",
    "cleaning.recipes.stop_words": "words of the text", "cleaning.recipes.stop_chars": "characters of the text",
    "cleaning.recipes.top_n_grams": "numbers", "cleaning.recipes.dup_n_grams": "numbers",
    "pretraining.optimizer.betas": "numbers", "pretraining.profile_steps": "numbers",
    "pretraining.sample_prompts": "any text", "evaluation.prompts": "any text", "evaluation.fewshot_seeds": "numbers",
    "evaluation.benchmarks.package": "pinned by sha256", "evaluation.benchmarks.filename": "pinned by sha256",
    "evaluation.benchmarks.own": "names that the user chooses", "evaluation.benchmarks.own.pattern": "any expression",
    "evaluation.benchmarks.own.judge.verdicts": "any text",
    "evaluation.benchmarks.own.license": "any text", "evaluation.benchmarks.sha256": "a pattern",
    "evaluation.registry": "the name that versions get",
    "report.currency": "any text", "scaling.rungs": "names that the user chooses",
    "finetuning.datasets": "names that the user chooses", "open_models": "names that the user chooses",
    "retrieval.questions": "names that the user chooses",
    "tokenizer.add_tokens": "tokens that are added",
    "finetuning.translation.prompt": "any text with {source} in it",
    "finetuning.summarization.prompt": "any text with {source} in it",
    "checks.accepted": "hashes of versions that this working copy may not have",
}  # fmt: skip
"""param -> why its values name nothing that there is"""


RUNS = re.compile(r"^finetuning\.(runs|on_demand|retrieval)(?=\.|$)")  # three groups of one type
LORA = re.compile(r"^finetuning\.\w+\.lora")


def models_in(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in typing.get_args(kind):
        yield from models_in(inner)


def holds_names(kind: Any) -> bool:
    """Whether values of this type can be names: text, or a list or mapping of anything."""
    origin = typing.get_origin(kind)
    if origin in (list, dict, tuple, set, frozenset) or kind is str:
        return True
    return origin is not typing.Literal and any(holds_names(inner) for inner in typing.get_args(kind))


def named_params(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        place = f"{prefix}{name}"
        if holds_names(field.annotation):
            yield place
        for inner in models_in(field.annotation):
            yield from named_params(inner, f"{place}.")


def every_param() -> set[str]:
    found = set(named_params(Params))
    for kind in BUILT_IN.values():
        found |= set(named_params(kind, "sources."))
    for rule in rules().values():
        found |= set(named_params(rule, "cleaning.recipes."))
    for name, method in finetuning.methods().items():
        for place in named_params(method.params, f"finetuning.{name}."):
            found.add(place)
    return {LORA.sub("finetuning.*.lora", RUNS.sub("finetuning.RUNS", place)) for place in found}


def test_every_param_that_holds_names_is_classified():
    known = {place.partition(" (")[0] for place in UNKNOWN} | ELSEWHERE.keys() | FREE.keys()
    unclassified = every_param() - known
    assert not unclassified, "add to UNKNOWN how a name that there is not is refused, or to FREE why any name will do"
    assert not known - every_param(), "no such params"


SLOW = {
    "evaluation.benchmarks.tasks",
    "deduplication.priority",
    "deduplication.max_dropped_share_by_source",
    "retrieval.sources",
    "split.group_by",
    "split.group_by (a field)",
}
"""Places whose verbs import lm-eval, or compile kernels where no cache has them."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    rows = [
        {"id": str(n), "source": "a", "text": text, "metadata": {"meta": {"pile_set_name": "Set"}}}
        for n, text in enumerate(WORDS)
    ]
    for place in (tmp_path, *(tmp_path / name for name in ("train", "heldout", "documents"))):
        place.mkdir(exist_ok=True)
        (place / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize("place", [pytest.param(key, marks=pytest.mark.slow if key in SLOW else ()) for key in UNKNOWN])
def test_a_name_that_there_is_not_is_refused_in_one_line(folder, capsys, place):
    params, verb = UNKNOWN[place]
    (folder / "params.yaml").write_text(json.dumps({"network": {"cache": str(folder / "cache")}} | params))
    with pytest.raises(SystemExit) as ended:
        main([*verb, "--params", "params.yaml"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert ended.value.code == 1 and said.startswith("llm-core: error: "), said
    assert "zz" in said or "this is the name of a step" in said, said
    assert not (folder / "out").exists()
