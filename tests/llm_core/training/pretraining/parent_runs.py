"""Continues tiny open models, each in a FOLDER with `parent`, `tokenizer` and `tokens`; prints facts as JSON.

torchrun --standalone --nproc-per-node 1 -m tests.llm_core.training.pretraining.parent_runs FOLDER …
"""

import json
import sys
from pathlib import Path

from llm_core.training.pretraining import engine as engines
from tests.llm_core.training.pretraining.family_runs import train


def main() -> None:
    engines.join(offload=False)
    found = {}
    for folder in map(Path, sys.argv[1:]):
        more = (folder / "case").read_text() if (folder / "case").exists() else ""
        found[folder.name] = train(folder, f"pretraining.parent={folder}/parent,pretraining.steps=30{more}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
