"""Runs several tiny finetunings within one process group, each in a folder of its own name below the current one.

    python -m tests.llm_core.training.finetuning.cases CASES.json
    torchrun --standalone --nproc-per-node 2 -m tests.llm_core.training.finetuning.cases CASES.json

CASES.json: name -> {"method": a method, "family": a family, and what differs from `tiny.finetune`'s settings}. Each
rank writes what its training steps were given to `NAME/hook-RANK.jsonl`. Starting Python once for all keeps the tests
short.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.llm_core.training.finetuning import tiny
from tests.warm import start

IDS = re.compile("(^|_)ids$")


def run(cases: dict[str, dict[str, Any]], folder: Path, processes: int = 1) -> None:
    """All `cases` below `folder`, in one process or process group that ends without an error."""
    made = {(case["method"], case["family"]) for case in cases.values()}
    for method, family in sorted(made):
        tiny.rows(method, folder)
        if not (folder / f"base-{family}").exists():
            tiny.model(family, folder / f"base-{family}")
    (folder / "cases.json").write_text(json.dumps(cases))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    module = ["-m", "tests.llm_core.training.finetuning.cases", "cases.json"]
    command = [start.python(), *(launcher if processes > 1 else []), *module]
    subprocess.run(command, cwd=folder, env=tiny.environment() | {"LLM_CORE_TRACKING": "off"}, check=True)


def record(tokenizer: Any, file: Path) -> Any:
    """Let every training step write the texts that it is given to `file`; returns the step as it was before."""
    import transformers

    step = transformers.Trainer.training_step
    file.unlink(missing_ok=True)

    def recorded(trainer: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        if hasattr(inputs, "items"):
            given = (value for name, value in inputs.items() if IDS.search(name))
            texts = [text for value in given for text in tokenizer.batch_decode(value)]
        else:
            texts = [json.dumps(row["prompt"]) for row in inputs]
        with file.open("a") as stream:
            stream.write(json.dumps({"step": trainer.state.global_step + 1, "texts": texts}) + "\n")
        return step(trainer, model, inputs, *rest, **named)

    transformers.Trainer.training_step = recorded
    return step


def main() -> None:
    import torch
    import transformers

    from llm_core.training.deepspeed_ops import leave_group

    torch.set_num_threads(1)
    above = Path.cwd()
    rank = os.environ.get("RANK", "0")
    for name, case in json.loads(Path(sys.argv[1]).read_text()).items():
        method, family = case.pop("method"), case.pop("family")
        (above / name).mkdir(exist_ok=True)
        os.chdir(above / name)
        base = above / f"base-{family}"
        tokenizer = transformers.AutoTokenizer.from_pretrained(base)
        step = record(tokenizer, Path(f"hook-{rank}.jsonl").absolute())
        tiny.finetune(method, base, above / f"rows-{method}", **case)
        transformers.Trainer.training_step = step
    leave_group()


if __name__ == "__main__":
    main()
