"""A stage of the toy project in a few lines: text in, text out, figures beside it. Copied there as code/stage.py."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml


def main() -> None:
    """`stage.py make|long|join|report|slow OUT [IN...]`."""
    verb, out, inputs = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    params = yaml.safe_load(Path("params.yaml").read_text())
    say(f"{verb}: {out}")
    if verb == "make":
        words = [f"{out.name}{number}" for number in range(params["sources"][out.name]["words"])]
    elif verb == "long":
        words = [word for word in read(inputs) if len(word) >= params["cleaning"]["min_length"]]
    else:
        words = sorted(set(read(inputs)))
    if verb == "slow":
        steps = params["slow"]["steps"]
        worker = subprocess.Popen(["sleep", str(steps)], start_new_session=True)  # as torchrun's workers are
        for step in training(steps):
            say(f"step {step}")
            time.sleep(1)
        worker.wait()
    (out / "documents").mkdir(parents=True, exist_ok=True)
    (out / "documents" / "words.txt").write_text("\n".join(words))
    drops = {"too_short": len(read(inputs)) - len(words)} if inputs else {}
    (out / "metrics.json").write_text(json.dumps({"kept": len(words), "drops": drops}))


def read(folders: list[str]) -> list[str]:
    """All words below some folders."""
    files = [file for folder in folders for file in sorted(Path(folder).rglob("words.txt"))]
    return [word for file in files for word in file.read_text().split()]


def training(steps: int) -> Iterator[int]:
    """The steps; Dagster is given their progress, if there are some and it listens."""
    if not steps or "DAGSTER_PIPES_CONTEXT" not in os.environ:
        yield from range(steps)
        return
    from llm_core.runtime import progress

    progress.REPORT_EVERY_SECONDS = 0.0
    with progress.task("slow", total=steps, unit="steps") as work:
        for step in range(steps):
            yield step
            work.note(**{"loss/web": 3.5})
            work.update(loss=4.0 - step, smoothed_loss=4.0, learning_rate="1e-3")


def say(line: str) -> None:
    """Print, and tell Dagster where it listens."""
    print(line, flush=True)
    if "DAGSTER_PIPES_CONTEXT" in os.environ:
        from llm_core.runtime import progress

        progress.log(line)


main()
