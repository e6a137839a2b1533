"""A takedown through the real graph: few shards change, and it is a run that never had the document, byte for byte."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llm_core.formats.documents import document_id
from llm_core.params import load
from llm_core.runtime.storage import read_json
from tests.warm import start

ROOT = Path(__file__).parents[1]
STAGES = ("inputs", "download", "clean", "dedup", "decontaminate", "split", "tokenizer", "tokenize")
WORDS = [
    f"{first}{second}" for first in ("ri", "sto", "trea", "is", "har", "se") for second in ("ver", "ne", "ty", "la")
]


def text(number: int) -> str:
    """Some 2,000 bytes, others for each number."""
    return " ".join(random.Random(number).choices(WORDS, k=400))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The data stages of the repository's own dvc.yaml over 500 documents; 5 has a twin and a near-duplicate."""
    folder = tmp_path / "project"
    (folder / "data/benchmarks").mkdir(parents=True)
    (folder / "data/benchmarks/task.jsonl").write_text(json.dumps({"id": "1", "text": text(-1)}) + "\n")
    texts = {number: text(number) for number in range(500)} | {300: text(5), 301: text(5) + " and one more"}
    lines = [json.dumps({"id": f"document-{number}", "text": texts[number]}) for number in sorted(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: stages[name] for name in STAGES}}))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["sources"] = {"pages": {"kind": "files", "paths": ["corpus.jsonl"], "license": "public-domain"}}
    params["network"] = {"cache": str(tmp_path / "cache")}
    params["shards"] = {"megabytes": 0.008, "tokens": 2048}
    params["tokenizer"] |= {"vocab_size": 320, "sample_bytes": 100_000}
    params["cleaning"] = {"steps": ["repair"]}
    params["split"]["group_by"] = {}  # names of sources that are not here would be errors
    params.pop("checks", None)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    load(folder / "params.yaml")
    (folder / "takedowns.jsonl").touch()
    (folder / "llm_core").symlink_to(ROOT / "llm_core")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, env=environment(), check=True)
    return folder


def environment() -> dict[str, str]:
    """Programs that start warm, and this working copy's code."""
    return os.environ | {
        "PATH": start.path(),
        "PYTHONPATH": str(ROOT),
        "LLM_CORE_TRACKING": "off",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
@pytest.mark.long  # tests/llm_core/lineage/test_takedown_stages.py holds the same of the stages themselves
def test_through_dvc_repro_and_back(project):
    script = [sys.executable, str(ROOT / "benchmarks/takedown.py"), str(project)]
    done = subprocess.run([*script, "--id", "document-5"], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "the tokenizer was trained on none of them" in done.stdout
    assert f"{document_id('pages', 'document-300')} (same_text)" in done.stdout
    assert f"{document_id('pages', 'document-301')} (near_duplicate)" in done.stdout
    assert " 0 of them not the same" in done.stdout
    assert "the first bytes" in done.stdout
    table = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.endswith("%")}
    for stage in ("dedup", "decontaminate", "split", "tokenize"):
        files, new = int(table[stage][1]), int(table[stage][2])
        assert files >= 50
        assert 1 <= new <= 0.05 * files
    dropped = read_json(project / "data/dedup/metrics.json")["dropped_by_reason"]
    assert dropped == {"near_duplicate": 2}, "301, the longest, stands for 5 and 300 again"
