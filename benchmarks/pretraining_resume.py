"""Kill a training with SIGKILL twenty times at random steps; the final weights must be bit-equal.

    python benchmarks/pretraining_resume.py --kills 20 --processes 1 2

Verb and worker are killed by turns. Compared: model.safetensors and training_log.jsonl,
byte by byte, with an undisturbed run. fp32.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.llm_core.training.pretraining import kills, tiny


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    chosen = parser.parse_args()
    for processes in chosen.processes:
        settings = {
            "pretraining__processes": processes,
            "pretraining__steps": 60,
            "pretraining__checkpoint_every": 1,
            "pretraining__launcher": "torchrun",
        }
        with tempfile.TemporaryDirectory() as name:
            folder = tiny.make(Path(name))
            assert tiny.run(folder, "whole", **settings).returncode == 0
            for line in kills.survive(folder, chosen.kills, seed=processes, **settings):
                print(f"{processes} process(es), {line}", flush=True)
            same = all(
                (folder / "whole" / file).read_bytes() == (folder / "killed" / file).read_bytes()
                for file in ("model.safetensors", "training_log.jsonl")
            )
            print(f"{processes} process(es): {chosen.kills} kills, weights and log bit-equal: {same}", flush=True)
            if not same:
                sys.exit(1)


if __name__ == "__main__":
    main()
