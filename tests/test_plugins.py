"""A source kind and a benchmark from another distribution: one module and one entry point each, nothing else.

The same is shown for quality rules and finetuning methods beside their rooms (`test_rules.py`, `test_plugin.py`).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.llm_core import tiny_gpt2
from tests.warm import start

SOURCE = '''
"""Source kind `poem`: each stanza of a text file is a document."""

from collections import Counter
from pathlib import Path
from typing import Literal

from llm_core.corpus.sources.base import Document, Shard
from llm_core.params.sources import PluginSource, SourceKind


class Poem(PluginSource):
    kind: Literal["poem"]
    files_below: str
    """Folder of the poems."""


class PoemRoom:
    streaming = False

    def __init__(self, params, client):
        self.params, self.not_read = params, Counter()

    def shards(self):
        return [Shard(file.name, str(file)) for file in sorted(Path(self.params.files_below).glob("*.poem"))]

    def bring(self, shard):
        return Path(shard.address)

    def records(self, shard, file, skipped):
        for number, stanza in enumerate(file.read_text().split("\\n\\n")):
            yield Document(f"{shard.name}#{number}", stanza, offset=number)


SOURCE = SourceKind(Poem, PoemRoom)
'''

BENCHMARK = '''
"""Benchmark `capitals`: which city is a country's capital."""

from llm_core.evaluation.catalog import Benchmark

WORLD = {"Chad": "N'Djamena", "Mali": "Bamako", "Peru": "Lima", "Fiji": "Suva"}
ASKED = "Which one of these towns is the capital of "


def bring(client):
    towns = list(WORLD.values())
    return [
        {"country": country, "question": ASKED + country, "towns": towns, "right": n}
        for n, country in enumerate(WORLD)
    ]


BENCHMARK = Benchmark(
    member="", bring=bring, split="test", metric="acc", chance=0.25, license="CC0-1.0", key="country",
    definition={
        "output_type": "multiple_choice", "doc_to_text": "{{question}}?", "doc_to_choice": "towns",
        "doc_to_target": "right", "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
)
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two installed distributions; the working folder is an empty project."""
    site = tmp_path / "site"
    for name, module, group in (("poem", SOURCE, "sources"), ("capitals", BENCHMARK, "benchmarks")):
        info = site / f"toy_{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"toy_{name}.py").write_text(module)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toy-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[llm_core.{group}]\n{name} = toy_{name}\n")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return site


def run(site: Path, *words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """A verb, or a piece of code, in a process that finds the distributions."""
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), root]), "LLM_CORE_TRACKING": "off"}
    command = [sys.executable, "-c", code] if code else [start.python(), "-m", "llm_core.cli", *words]
    return subprocess.run(command, env=environment | {"COLUMNS": "300"}, capture_output=True, text=True)


def test_a_source_kind_is_one_file(site: Path) -> None:
    Path("poems").mkdir()
    Path("poems/a.poem").write_text("Roses are red\n\nViolets are blue")
    Path("poems/b.poem").write_text("Sugar is sweet")
    Path("params.yaml").write_text("sources: {verse: {kind: poem, files_below: poems, license: CC0-1.0}}\n")
    done = run(site, "fetch", "verse", "--out", "out")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert (metrics["documents_in"], metrics["documents_kept"]) == (3, 3)
    shown = run(site, "params", "sources").stdout
    assert "sources.verse.files_below = 'poems'" in shown and "Folder of the poems" not in run(site, "--help").stdout
    Path("params.yaml").write_text("sources: {verse: {kind: poem, folder: poems}}\n")
    wrong = run(site, "fetch", "verse", "--out", "out")
    assert wrong.returncode == 1 and "sources.verse.folder" in wrong.stderr and "Traceback" not in wrong.stderr
    Path("params.yaml").write_text("sources: {verse: {kind: peom, files_below: poems}}\n")
    wrong = run(site, "fetch", "verse", "--out", "out")
    assert wrong.returncode == 1 and len(wrong.stderr.strip().splitlines()) == 1
    assert "there are package, files, pile, dolma, hub, common_crawl, poem" in wrong.stderr


def test_a_source_kind_whose_name_is_taken_or_that_is_none_is_refused(site: Path) -> None:
    entries = site / "toy_poem-1.0.dist-info" / "entry_points.txt"
    Path("params.yaml").write_text("sources: {verse: {kind: poem, files_below: poems}}\n")
    for line, said in (
        ("files = toy_poem", "has 'files' already"),
        ("poem = toy_poem:PoemRoom", "must be a SourceKind"),
    ):
        entries.write_text(f"[llm_core.sources]\n{line}\n")
        done = run(site, "params")
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_benchmark_is_one_file(site: Path, tmp_path: Path) -> None:
    Path("params.yaml").write_text("evaluation: {tasks: [capitals], benchmarks: {tasks: [capitals]}}\n")
    done = run(site, "fetch-benchmarks", "--out", "benchmarks")
    assert done.returncode == 0, done.stderr
    manifest = json.loads(Path("benchmarks/manifest.json").read_text())
    assert manifest["capitals"]["items"] == 4 and manifest["capitals"]["license"] == "CC0-1.0"
    texts = {"a": "Tell me: which one of these towns is the capital of Chad?", "b": "Nothing of the kind is said here."}
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()]
    Path("documents.jsonl").write_text("".join(lines))
    held = ["--set", "decontamination.min_words=5", "--set", "decontamination.ngram=5"]
    done = run(site, "decontaminate", "--in", "documents.jsonl", "--benchmarks", "benchmarks", "--out", "clean", *held)
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("clean/metrics.json").read_text())["documents_dropped"] == 1
    tiny_gpt2.make(tmp_path / "model")
    script = """
import json
from pathlib import Path
from llm_core.evaluation.harness import score_benchmarks, summarize
from llm_core.evaluation.stage import load
from llm_core.params import load as read
network, tokenizer = load(Path("../model"))
for shots in (0, 2):
    params = read("params.yaml", [f"evaluation.num_fewshot={shots}"]).evaluation
    rows = score_benchmarks(network, tokenizer, Path("benchmarks"), params)
    assert [row["id"] for row in rows] == ["Chad", "Mali", "Peru", "Fiji"], rows
    score = summarize(rows)["capitals"]
    assert score["chance"] == 0.25 and score["items"] == 4 and 0 <= score["acc"] <= 1, score
"""
    done = run(site, code=script)
    assert done.returncode == 0, done.stderr[-2000:]
