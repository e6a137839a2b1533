"""A finetuning method from another distribution: one module and one entry point, nothing else."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.llm_core.training.finetuning import tiny
from tests.warm import start

METHOD = """
from pydantic import Field
from llm_core.params.finetuning import Training
from llm_core.training.finetuning.method import Figure, Layout, Method, text
from llm_core.training.finetuning.methods.instruction import METHOD as INSTRUCTION

class Echo(Training):
    scored_items: int = Field(4, ge=0)
    max_new_tokens: int = Field(4, ge=1)
    too_long: str = "drop"
    packing: bool = False
    loudness: int = Field(1, ge=1)

def convert(raw, data):
    said = text(raw.get("said"), "said")
    return {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": said}]}

def measure(job, model):
    return {"echoes": len(job.rows["test"]) * job.params.loudness}

METHOD = Method(
    help="Say the same again.", params=Echo, fields=("messages",), kinds=("decoder",), why_not="it must speak",
    layouts={"echo": Layout("said", lambda raw, data: "said" in raw, convert)},
    finetune=INSTRUCTION.finetune, measure=measure, compared=INSTRUCTION.compared,
    figures={"echoes": Figure("echoes that were heard", "echoes")},
)
"""


@pytest.mark.slow
def test_one_file_adds_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "echo-1.0.dist-info").mkdir(parents=True)
    (site / "echo_method.py").write_text(METHOD)
    (site / "echo-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: echo\nVersion: 1.0\n")
    (site / "echo-1.0.dist-info" / "entry_points.txt").write_text("[llm_core.finetuning_methods]\necho = echo_method\n")
    monkeypatch.chdir(tmp_path)
    tiny.model("llama", tmp_path / "base")
    words = ("Chad", "Mali", "Peru", "Fiji", "Cuba", "Togo", "Oman", "Iran", "Laos", "Niue", "Guam", "Iraq")
    Path("said.jsonl").write_text("".join(json.dumps({"said": f"{word} is a place"}) + "\n" for word in words))
    Path("params.yaml").write_text(
        "finetuning: {runs: {echo: {loudness: 3, max_steps: 2, micro_batch: 4, zero_stage: null, evaluations: 1}}}\n"
    )
    script = """
import sys
from pathlib import Path
from llm_core.params import load
from llm_core.training.finetuning import stage
from llm_core.training.finetuning.data.stage import prepare
from llm_core.report.finetuning import finetuned
from tests.llm_core.training.finetuning.test_report import leaves
params = load("params.yaml")
prepare("echo", Path("rows"), params, "said.jsonl")
stage.finetune("echo", Path("base"), Path("rows"), Path("data/models/echo"), params)
rows = [row for block in leaves(finetuned(Path("data"))) if block.kind == "table" for row in block.content]
assert {"figure": "echoes that were heard, echoes", "before": "3", "after": "3", "baseline": None} in rows, rows
"""
    environment = tiny.environment() | {"LLM_CORE_TRACKING": "off", "COLUMNS": "1000"}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), environment["PYTHONPATH"]])
    done = subprocess.run(start.script(), input=script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shown = [start.python(), "-m", "llm_core.cli", "finetune", "--help"]
    assert "Say the same again" in subprocess.run(shown, env=environment, capture_output=True, text=True).stdout
    Path("params.yaml").write_text("finetuning: {runs: {ecko: {}}}\n")
    wrong = [start.python(), "-m", "llm_core.cli", "params"]
    refused = subprocess.run(wrong, env=environment, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "no finetuning method (there are classification, " in refused.stderr
    assert ", rlhf, " in refused.stderr
    assert ", echo)" in refused.stderr
