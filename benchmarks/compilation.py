"""What compiling the blocks costs, and what it saves: the figures behind `pretraining.compile: auto`.

    PYTHONPATH=. python benchmarks/compilation.py --data data --width 192 --layers 4 --length 128 --rows 16

Trains the shape of the default run's blocks on its tokens, one process of one thread, in its precision and with its
optimizer: uncompiled, compiled from an empty cache, and compiled again from the cache that this leaves. CPU seconds,
those of compilers included; a step's time is the median of the last ones.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KINDS = {"uncompiled": False, "compiled, cold": True, "compiled, warm": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with tokens and tokenizer")
    parser.add_argument("--family", default="llama")
    for name, value in {"layers": 4, "width": 192, "length": 128, "rows": 16, "steps": 16, "stage": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of params")
    given = parser.parse_args()
    if given.child:
        child(given)
        return
    print("| run | CPU s before step 2 | CPU ms a step | loss after the last step |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as cache:
        variables = {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1", "OMP_NUM_THREADS": "1"}
        found = {}
        for name, compiled in KINDS.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--child", json.dumps(compiled)]
            done = subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, check=True, text=True)
            found[name] = one = json.loads(done.stdout.splitlines()[-1])
            print(f"| {name} | {one['first']:.1f} | {1e3 * one['step']:.1f} | {one['loss']:.6f} |", flush=True)
    plain, cold, warm = (found[name] for name in KINDS)
    gain = 1 - cold["step"] / plain["step"]
    print(f"\nsaves {gain:.1%} of a step; costs {cold['first'] - plain['first']:.1f} CPU s cold, "
          f"{warm['first'] - plain['first']:.1f} warm")  # fmt: skip
    if gain > 0:
        print(f"pays cold after {(cold['first'] - plain['first']) / (plain['step'] - cold['step']):,.0f} steps, "
              f"{(cold['first'] - plain['first']) / gain:,.0f} CPU s of training")  # fmt: skip


def child(given: argparse.Namespace) -> None:
    """One training; prints its figures as JSON."""
    from llm_core.params import load
    from llm_core.tracking import runs
    from llm_core.training.pretraining import engine as engines
    from llm_core.training.pretraining.assemble import assemble
    from llm_core.training.processes import single_process
    from tests.llm_core.training.pretraining import tiny

    os.environ |= single_process()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "params.yaml").write_text("seed: 1\n")
        chosen: dict[str, Any] = {
            "model.family": given.family, "model.layers": given.layers, "model.width": given.width,
            "model.heads": max(given.width // 64, 1), "model.feed_forward": None, "pretraining.steps": given.steps,
            "pretraining.sequence_length": given.length, "pretraining.batch_tokens": given.rows * given.length,
            "pretraining.micro_batch": given.rows, "pretraining.precision": given.precision,
            "pretraining.optimizer.name": "muon", "pretraining.zero_stage": given.stage,
            "pretraining.compile": json.loads(given.child),
        }  # fmt: skip
        overrides = [f"{key}={json.dumps(value)}" for key, value in (tiny.SETTINGS | chosen).items()]
        params = load(folder / "params.yaml", [*overrides, *given.set])
        engines.join(offload=False)
        precision = engines.resolve_precision(params.pretraining.precision)
        training = assemble(
            params, given.data / "tokens", given.data / "tokenizer", folder / "scratch", precision, engines.world(),
            runs.Run(None, "", ""),
        )  # fmt: skip
        training.compile()
        training.engine.train()
        marks, losses = [_spent()], []
        for _ in range(training.steps):
            losses.append(training._train_step()["loss"])
            training.step += 1
            marks.append(_spent())
    steps = [later - earlier for earlier, later in itertools.pairwise(marks)]
    print(json.dumps({"first": marks[1], "step": statistics.median(steps[len(steps) // 3 :]), "loss": losses[-1]}))


def _spent() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
