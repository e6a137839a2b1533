"""Held-out bits per byte after a fixed budget of CPU seconds, compilation and start-up included, beside nanochat.

    git clone https://github.com/karpathy/nanochat
    PYTHONPATH=. python benchmarks/pretraining_budget.py --tokens data/tokens --tokenizer data/tokenizer \
        --nanochat nanochat --seconds 300

The same texts in the same batches, vocabulary, size of blocks and head, precision and one thread. Each contender is
first timed for a few steps from an empty compiler cache; its schedule then has as many steps as the budget allows, and
it starts again from an empty cache. "CPU s" is what it spent up to its last step. nanochat runs at the learning rates
of its rule for the batch and at the multiples of `--nanochat-rates`, since its rule is made for batches 128 times as
large; measuring held-out text costs neither anything.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pretraining_peers import WARM, run, settings_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="data/tokens")
    parser.add_argument("--tokenizer", default="data/tokenizer")
    parser.add_argument("--nanochat", required=True, help="a checkout of it")
    parser.add_argument("--seconds", type=float, nargs="+", default=[300.0])
    parser.add_argument("--contenders", nargs="+", default=["ours-llama-muon", "nanochat+compile", "nanochat"])
    parser.add_argument("--nanochat-rates", type=float, nargs="*", default=[0.25, 0.5, 1.0])
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--heldout-tokens", type=int, default=100_000, help="of each source")
    chosen = vars(parser.parse_args())
    print("| budget, CPU s | contender | rates | steps | CPU s to the first step | CPU s | held-out bits per byte |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(chosen, Path(folder))
        for name in chosen["contenders"]:
            probe = _fresh(
                name, settings | {"steps": 2 * WARM + 6, "heldout_tokens": 0}, Path(folder) / f"{name}-probe"
            )
            if not probe:
                continue
            typical = sorted(probe["steps"][WARM:])[len(probe["steps"][WARM:]) // 2]
            for seconds in chosen["seconds"]:
                steps = int((seconds - probe["first"]) / typical)
                if steps < WARM:
                    print(f"| {seconds:.0f} | {name} | | 0 | {probe['first']:.0f} | | |", flush=True)
                    continue
                rates = [None, *chosen["nanochat_rates"]] if name.startswith("nanochat") else [None]
                for rate in rates:
                    place = Path(folder) / f"{name}-{seconds:.0f}-{rate}"
                    found = _fresh(name, settings | {"steps": steps, "nanochat_rate": rate}, place)
                    if found:
                        told = f"{rate:g}" if rate else "its own"
                        print(f"| {seconds:.0f} | {name} | {told} | {steps} | {found['first']:.0f} | "
                              f"{found['spent']:.0f} | {found['heldout_bits_per_byte']:.4f} |", flush=True)  # fmt: skip


def _fresh(name: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One run from an empty compiler cache, compiling in its own process so that its CPU time is counted."""
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "cache"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    found = run(name, settings, folder, cache)
    if not found:
        print(f"{name}: left out", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
