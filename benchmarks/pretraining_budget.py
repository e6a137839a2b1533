"""Held-out bits per byte after a fixed budget of CPU seconds, compilation and start-up included, beside nanochat and
nanoGPT.

    git clone https://github.com/karpathy/nanochat; git clone https://github.com/karpathy/nanoGPT
    PYTHONPATH=. python benchmarks/pretraining_budget.py --tokens data/tokens --tokenizer data/tokenizer \
        --nanochat nanochat --seconds 300
    PYTHONPATH=. python benchmarks/pretraining_budget.py --seconds 200 --contenders ours-llama-muon --seeds 1 2 3 4 5 \
        --phases '[{"name": "short", "share": 0.8, "sequence_length": 128, "batch_tokens": 2048},
                   {"name": "long", "share": 0.2, "sequence_length": 512, "batch_tokens": 4096}]' \
        --change pretraining.optimizer.schedule=linear

`--phases` are those of our contenders and of nanochat, each with its share of the budget in place of its steps;
nanoGPT's program has one length. `--change` sets one of our contenders' params. `--context` is the length at which the
held-out text of nanochat and nanoGPT is read; the others read it at their longest phase.

The same texts (nanoGPT's program draws them by itself), vocabulary, size of blocks and head, precision and one thread.
Each contender is first timed for a few steps from an empty compiler cache; its schedule then has as many steps as the
budget allows, and it starts again from an empty cache. "CPU s" is what it spent up to its last step. nanochat runs at
the learning rates of its rule for the batch and at the multiples of `--nanochat-rates`, since its rule is made for
batches 128 times as large, nanoGPT at those of `--nanogpt-rates`; measuring held-out text costs neither anything.
`NAME+compile` is with torch.compile, `nanochat+eager` without the compilation that its optimizer has in any case.

Other work on the machine inflates CPU seconds. With `--costs` what a step costs is measured once, on an idle machine,
and kept in that file; later calls with the same file train as many steps as the budget buys at those costs, so that
they may share the machine with other work. What they spend is printed as ever.
"""

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.pretraining_peers import WARM, run, settings_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="data/tokens")
    parser.add_argument("--tokenizer", default="data/tokenizer")
    parser.add_argument("--nanochat", help="a checkout of it")
    parser.add_argument("--nanogpt", help="a checkout of it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, nargs="+", default=[300.0])
    parser.add_argument("--contenders", nargs="+", default=["ours-llama-muon", "nanochat+compile", "nanochat"])
    parser.add_argument("--nanochat-rates", type=float, nargs="*", default=[0.25, 0.5, 1.0])
    parser.add_argument("--nanogpt-rates", type=float, nargs="*", default=[0.003])
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--phases", type=json.loads, default=[])
    parser.add_argument("--change", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--context", type=int)
    parser.add_argument("--heldout-tokens", type=int, default=100_000, help="of each source")
    parser.add_argument("--costs", type=Path, metavar="FILE", help="JSON with measured costs of steps, made if missing")
    parser.add_argument("--keep", type=Path, help="a folder for the runs; the models of ours are below it, in `out`")
    chosen = vars(parser.parse_args())
    chosen["changes"] = {key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in chosen["change"])}
    wanted, chosen["phases"] = chosen["phases"], []
    keep, costs = chosen.pop("keep"), chosen.pop("costs")
    print(
        "| budget, CPU s | contender | rates | seed | steps | CPU s to the 1st step | CPU s | held-out bits per byte |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(chosen, Path(folder))
        for name in chosen["contenders"]:
            phases = wanted if name.startswith(("ours", "nanochat")) else []
            probes = [_probe(name, settings, phase, Path(folder), costs) for phase in phases or [{}]]
            if not all(probes):
                continue
            for seconds in chosen["seconds"]:
                left = seconds - probes[0]["first"]
                shares = [phase["share"] for phase in phases] or [1.0]
                counts = [int(left * share / _typical(probe)) for share, probe in zip(shares, probes, strict=True)]
                if sum(counts) < WARM:
                    print(f"| {seconds:.0f} | {name} | | | 0 | {probes[0]['first']:.0f} | | |", flush=True)
                    continue
                planned = [
                    {key: value for key, value in phase.items() if key != "share"} | {"steps": count}
                    for phase, count in zip(phases, counts, strict=False)
                ]
                base = name.split("+")[0]
                rates = {"nanochat": [None, *chosen["nanochat_rates"]], "nanogpt": chosen["nanogpt_rates"]}
                for rate, seed in itertools.product(rates.get(base, [None]), chosen["seeds"]):
                    place = (keep or Path(folder)) / f"{name}-{seconds:.0f}-{rate}-{seed}"
                    plan = {"steps": sum(counts), "rate": rate, "phases": planned, "seed": seed}
                    found = _fresh(name, settings | plan, place)
                    if found:
                        shown = f"{rate:g}" if rate else "its own"
                        print(f"| {seconds:.0f} | {name} | {shown} | {seed} | {sum(counts)} | {found['first']:.0f} | "
                              f"{found['spent']:.0f} | {found['heldout_bits_per_byte']:.4f} |", flush=True)  # fmt: skip


def _probe(
    name: str, settings: dict[str, Any], phase: dict[str, Any], folder: Path, costs: Path | None
) -> dict[str, Any]:
    """A few steps of one phase, or of a run without phases; those in the file `costs` where it has them."""
    shape_of = ("layers", "width", "length", "rows", "precision", "changes")
    key = json.dumps([name, phase, {each: settings[each] for each in shape_of}], sort_keys=True)
    known: dict[str, Any] = json.loads(costs.read_text()) if costs and costs.exists() else {}
    if key not in known:
        known[key] = _timed(name, settings, phase, folder)
        if costs and known[key]:
            costs.write_text(json.dumps(known, indent=1))
    return known[key]  # type: ignore[no-any-return]


def _timed(name: str, settings: dict[str, Any], phase: dict[str, Any], folder: Path) -> dict[str, Any]:
    shape: dict[str, Any] = {"steps": 2 * WARM + 6, "heldout_tokens": 0, "phases": []}
    if phase:
        shape |= {"length": phase["sequence_length"], "rows": phase["batch_tokens"] // phase["sequence_length"]}
    return _fresh(name, settings | shape, folder / f"{name}-probe-{phase.get('name')}")


def _typical(probe: dict[str, Any]) -> float:
    """Median CPU seconds of a step."""
    return float(sorted(probe["steps"][WARM:])[len(probe["steps"][WARM:]) // 2])


def _fresh(name: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One run from an empty compiler cache, compiling in its own process so that its CPU time is counted."""
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "cache"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    found = run(name, settings, folder, cache)
    if not found:
        print(f"{name}: left out", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
