"""The step-to-document map equals what a hook in the training loop saw: two processes, phases, a kill, a resume."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from llm_core.formats.token_shards import TokenShards
from llm_core.lineage.training import documents, training_data
from tests.llm_core.training.pretraining import tiny
from tests.warm import start

# Put on the path of the training's processes: records the rows that reach the DeepSpeed engine, rank by rank.
SPY = """
import importlib.abc, importlib.util, json, os, sys

class Spy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "llm_core.training.pretraining.train":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            watch(module.Training)
        spec.loader.exec_module = exec_module
        return spec

def watch(training):
    step = training._train_step
    def watched(self):
        if not hasattr(self, "spied"):
            self.spied = open(os.environ["SPY"] + os.environ["RANK"], "a")
            def seen(module, arguments):
                if self.engine.module.training:  # not the held-out passes
                    row = {"step": self.step, "rows": arguments[0].tolist()}
                    self.spied.write(json.dumps(row) + chr(10))
                    self.spied.flush()
            self.engine.register_forward_pre_hook(seen)
        return step(self)
    training._train_step = watched

sys.meta_path.insert(0, Spy())
"""
STEPS = 16
PHASES = [
    {"name": "short", "steps": 7, "sequence_length": 16, "batch_tokens": 128},
    {"name": "long", "steps": 9, "mixture": {"weights": {"x": 3, "y": 1}}},
]


@pytest.mark.slow
def test_documents_of_each_step_are_those_the_engine_was_given(tmp_path):
    folder = tiny.make(tmp_path)
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy/sitecustomize.py").write_text(SPY)
    environment = tiny.environment()
    environment |= {"SPY": str(tmp_path / "seen"), "PYTHONPATH": f"{tmp_path / 'spy'}:{environment['PYTHONPATH']}"}
    command = tiny.command(
        folder, launch__pretraining__processes=2, pretraining__steps=None, pretraining__phases=PHASES,
        pretraining__micro_batch=2,
    )  # fmt: skip
    command[0] = start.python()
    log = open(tmp_path / "log", "w")  # noqa: SIM115
    first = subprocess.Popen(command, cwd=folder, env=environment, stderr=log, start_new_session=True)
    while len({row["step"] for row in seen(tmp_path)}) < STEPS // 2:
        assert first.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    rows = seen(tmp_path)
    assert {row["rank"] for row in rows} == {0, 1}
    given: dict[int, set[tuple[int, ...]]] = {}
    for row in rows:  # steps between the last checkpoint and the kill are seen twice, and are the same twice
        given.setdefault(row["step"], set()).update(tuple(ids) for ids in row["rows"])
    record = training_data(folder / "out")
    assert record is not None
    assert record.steps == STEPS
    shards = TokenShards(folder / "tokens/train")
    numbers = {name: number for number, name in enumerate(shards.column("id"))}
    told: dict[int, dict[int, list[int]]] = {}
    for batch in documents(record):
        for item in batch.to_pylist():
            ids = shards.ids(numbers[item["id"]], item["start"], item["stop"]).tolist()
            told.setdefault(item["step"], {}).setdefault(item["sequence"], []).extend(ids)
    pad = record.loader["phases"][0]["loader"]["pad_id"]
    for step in range(STEPS):
        length = 16 if step < 7 else 32
        expected = {tuple(ids + [pad] * (length - len(ids))) for ids in told[step].values()}
        assert given[step] == expected, f"step {step}"


def seen(folder: Path) -> list[dict]:
    found = []
    for rank in (0, 1):
        file = folder / f"seen{rank}"
        lines = file.read_text().splitlines() if file.exists() else []
        found += [{**json.loads(line), "rank": rank} for line in lines if line.endswith("}")]
    return found
