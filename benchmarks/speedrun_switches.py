"""Each switch of the family speedrun and of its optimizer, on and off, for the same CPU seconds of training.

    PYTHONPATH=. python benchmarks/speedrun_switches.py --tokens data/tokens --tokenizer data/tokenizer \
        --seconds 20 --seeds 1 2 3 --runs .scratch/switches.jsonl

The cost of a step is measured first, of all contenders in turn, so that other work on the machine slows all of them
alike; the median decides how many steps the budget buys. Start-up, held-out text and compilation are not counted.
`llama` is the family with every switch off. Every other contender changes what its name says: `+` one switch on,
`all` all of them on, `all-` all but one, `optimizer:` one knob of the optimizer on llama. One process, one thread.

Each run is a line of JSON in `--runs` as soon as it ends; a later call with the same sizes makes the missing ones only,
and prints the table of all. "difference" is the mean over seeds of the difference to `llama` with the same seed, in
bits per byte (negative is better), and its standard error where there are several seeds.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from llm_core.params import Params, load
from llm_core.params.model import Speedrun
from llm_core.tracking import runs
from llm_core.training.pretraining import engine as engines
from llm_core.training.pretraining.assemble import assemble

SWITCHES = [name for name in Speedrun.model_fields if name != "window_pattern"]
OFF = {f"model.speedrun.{name}": False for name in SWITCHES}
ON = {f"model.speedrun.{name}": True for name in SWITCHES}
OTHERS: dict[str, dict[str, Any]] = {  # switches that other families have too
    "softcap": {"model.logit_softcap": 15}, "untied": {"model.tie_embeddings": False},
    "windows": {"model.sliding_window": 32},
}  # fmt: skip
PAYING = {"model.speedrun.value_embeddings": True, "model.speedrun.relu_squared": True}
WITH = OTHERS["softcap"] | OTHERS["untied"]
ZERO = {"model.speedrun.zero_init": True}
SCALARS = {"model.speedrun.residual_scalars": True, "model.speedrun.embedding_norm": True}  # made for each other
CONTENDERS: dict[str, dict[str, Any]] = {
    "llama": OFF,
    **{f"+{name}": OFF | {f"model.speedrun.{name}": True} for name in SWITCHES if name != "residual_scalars"},
    "+embedding_norm +residual_scalars": OFF | SCALARS,
    **{f"+{name}": OFF | change for name, change in OTHERS.items()},
    "+untied +zero_init": OFF | OTHERS["untied"] | ZERO,
    "+untied +value_embeddings +relu_squared": OFF | OTHERS["untied"] | PAYING,
    "+untied +value_embeddings +relu_squared, scalars": OFF | OTHERS["untied"] | PAYING | SCALARS,
    "+untied +value_embeddings +relu_squared +zero_init, scalars": OFF | OTHERS["untied"] | PAYING | SCALARS | ZERO,
    "+untied +value_embeddings +relu_squared +zero_init +qk_norm, scalars": (
        OFF | OTHERS["untied"] | PAYING | SCALARS | ZERO | {"model.speedrun.qk_norm": True}
    ),
    "all": ON | WITH,
    "all tied": ON | OTHERS["softcap"],
    **{f"all-{name}": ON | WITH | {f"model.speedrun.{name}": False} for name in SWITCHES},
    "optimizer: wsd": OFF | {"pretraining.optimizer.schedule": "wsd", "pretraining.optimizer.decay_share": 0.5},
    "optimizer: normuon": OFF | {"pretraining.optimizer.name": "normuon"},
    "optimizer: cautious_decay": OFF | {"pretraining.optimizer.cautious_decay": True},
    "optimizer: momentum_warmup": OFF | {"pretraining.optimizer.momentum_warmup_steps": 60},
    "optimizer: no decay": OFF | {"pretraining.optimizer.weight_decay": 0},
}  # fmt: skip
SETTINGS = {
    "model.family": "speedrun", "pretraining.micro_batch": 64, "pretraining.zero_stage": 0,
    "pretraining.optimizer.name": "muon", "pretraining.optimizer.learning_rate": 0.01,
    "pretraining.optimizer.muon_learning_rate": 0.02, "pretraining.optimizer.schedule": "linear",
    "pretraining.optimizer.warmup_steps": 10, "pretraining.optimizer.final_share": 0,
    "pretraining.checkpoint_every": 10**6, "pretraining.evaluate_every": 10**6, "pretraining.sample_every": 0,
    "pretraining.log_every": 10**6,
}  # fmt: skip
WARM, ROUNDS, BURST = 2, 6, 3  # steps before the measurement; how often each contender's turn comes; steps of a turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, default=Path("data/tokens"))
    parser.add_argument("--tokenizer", type=Path, default=Path("data/tokenizer"))
    parser.add_argument("--contenders", nargs="+", metavar="NAME", default=list(CONTENDERS), help="default: all")
    parser.add_argument("--seconds", type=float, default=20.0, help="CPU seconds of training steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--batch", type=int, default=1024, help="tokens in a step")
    parser.add_argument("--heldout-tokens", type=int, default=20_000, help="of each source")
    parser.add_argument("--runs", type=Path, required=True, help="file of the runs, one a line")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.contenders if name not in CONTENDERS]:
        parser.error(f"no contender {unknown[0]!r} (there are {', '.join(CONTENDERS)})")
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1"}.items():
        os.environ.setdefault(name, str(value))
    os.environ.setdefault("MASTER_PORT", str(29500 + os.getpid() % 1000))
    torch.set_num_threads(1)
    engines.join(offload=False)
    names = list(dict.fromkeys(["llama", *chosen.contenders]))
    done = [json.loads(line) for line in chosen.runs.read_text().splitlines()] if chosen.runs.exists() else []
    costs = {row["contender"]: row["ms"] / 1000 for row in done}
    costs |= _costs([name for name in names if name not in costs], costs.get("llama"), chosen)
    for seed in chosen.seeds:  # a call that is ended early has compared all contenders on its first seeds
        for name in names:
            if any((row["contender"], row["seed"]) == (name, seed) for row in done):
                continue
            steps = max(int(chosen.seconds / costs[name]), 1)
            with tempfile.TemporaryDirectory() as folder:
                training = _assemble(name, chosen, Path(folder), seed, steps)
                began = time.process_time()
                training.run()
                spent = time.process_time() - began
                loss = training.measure(chosen.heldout_tokens)["heldout_bits_per_byte"]
            size = sum(value.numel() for value in training.engine.module.network.parameters())
            row = {
                "contender": name, "seed": seed, "parameters": size, "ms": round(1000 * costs[name], 1), "steps": steps,
                "cpu_s": round(spent, 1), "bits": loss,
            }  # fmt: skip
            done.append(row)
            with open(chosen.runs, "a") as stream:
                stream.write(json.dumps(row) + "\n")
    _table(done)


def _table(done: list[dict[str, Any]]) -> None:
    plain = {row["seed"]: row["bits"] for row in done if row["contender"] == "llama"}
    print("| contender | parameters | CPU ms a step | steps | seeds | held-out bits per byte | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in dict.fromkeys(row["contender"] for row in done):
        rows = [row for row in done if row["contender"] == name and row["seed"] in plain]
        apart = [row["bits"] - plain[row["seed"]] for row in rows]
        error = f" ± {statistics.stdev(apart) / len(apart) ** 0.5:.3f}" if len(apart) > 1 else ""
        row = rows[0] | {"bits": statistics.mean(row["bits"] for row in rows)}
        print(f"| {name} | {row['parameters']:,} | {row['ms']} | {row['steps']} | {len(rows)} | {row['bits']:.3f} | "
              f"{statistics.mean(apart):+.3f}{error} |")  # fmt: skip


def _costs(names: list[str], known: float | None, chosen: argparse.Namespace) -> dict[str, float]:
    """Contender -> median CPU seconds of a step; where llama's are `known` from before, in proportion to them."""
    if not names:
        return {}
    names = list(dict.fromkeys(["llama", *names]))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        built = {name: _assemble(name, chosen, Path(folder) / str(place), 1, 10**4) for place, name in enumerate(names)}
        for training in built.values():
            _burst(training, WARM)
        for _ in range(ROUNDS):
            for name, training in built.items():
                seconds[name] += _burst(training, BURST)
    found = {name: statistics.median(values) for name, values in seconds.items()}
    return {name: value / found["llama"] * (known or found["llama"]) for name, value in found.items()}


def _burst(training: Any, steps: int) -> list[float]:
    training.engine.train()
    found = []
    for _ in range(steps):
        began = time.process_time()
        training._train_step()
        training.step += 1
        found.append(time.process_time() - began)
    return found


def _assemble(name: str, chosen: argparse.Namespace, scratch: Path, seed: int, steps: int) -> Any:
    scratch.mkdir(exist_ok=True)
    (scratch / "params.yaml").write_text(f"seed: {seed}\n")
    shape = {
        "model.layers": chosen.layers, "model.width": chosen.width, "model.heads": max(chosen.width // 64, 1),
        "pretraining.sequence_length": chosen.length, "pretraining.batch_tokens": chosen.batch,
        "pretraining.steps": steps,
    }  # fmt: skip
    settings = SETTINGS | shape | CONTENDERS[name]
    params: Params = load(scratch / "params.yaml", [f"{key}={json.dumps(value)}" for key, value in settings.items()])
    silent = runs.Run(None, "", "")
    return assemble(
        params, chosen.tokens, chosen.tokenizer, scratch / "a" / "b", chosen.precision, engines.world(), silent
    )


if __name__ == "__main__":
    main()
