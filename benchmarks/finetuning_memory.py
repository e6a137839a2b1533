"""Peak memory of LoRA and QLoRA (and full finetuning, if asked) on one base, each in a process of its own.

    python benchmarks/finetuning_memory.py --tokenizer data/tokenizer [--width 1024 --layers 12] [--adapters lora qlora]

The base has GPT-2's shape and random weights, since memory does not depend on their values. Two figures for each, the
maximum resident set in MB: `training` (the model is loaded, adapted, trained, the adapter saved) and `verb` (all of
`llm-core finetune instruction`: scores before, training, the merged export in float32, and its scores when loaded
again). `imported` is what the libraries take alone. About two CPU minutes with the defaults; set OMP_NUM_THREADS=1.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS, ROWS, WORDS = 3, 16, 24


def child(adapter: str, scope: str, folder: Path, batch: int) -> None:
    """Run in the process that is measured; prints its figures as JSON."""
    import torch
    from trl import SFTTrainer  # noqa: F401

    torch.set_num_threads(1)
    imported = peak()
    from llm_core.params import Params
    from llm_core.tracking.runs import Run
    from llm_core.training.finetuning import stage
    from llm_core.training.finetuning.conversation import load_tokenizer
    from llm_core.training.finetuning.methods import instruction
    from llm_core.training.finetuning.rows import read_rows
    from llm_core.training.finetuning.training import Job

    section = {"adapter": adapter, "max_steps": STEPS, "micro_batch": batch, "zero_stage": None, "evaluations": 1}
    section |= {"scored_items": 2, "max_new_tokens": 4, "max_length": 512}
    params = Params.model_validate({"finetuning": {"runs": {"instruction": section}}})
    os.chdir(folder)
    began = time.process_time()
    if scope == "verb":
        stage.finetune("instruction", Path("base"), Path("rows"), Path(f"out-{adapter}"), params)
    elif scope == "training":
        scratch = Path(f"scratch-{adapter}")
        scratch.mkdir()
        tokenizer = load_tokenizer("base")
        rows = read_rows(Path("rows"), "instruction")
        own = params.finetuning.run("instruction")
        job = Job("instruction", Path("base"), "decoder", adapter, rows, own, 1, scratch, Run(None, "", ""), tokenizer)
        instruction.finetune(job)
    print(json.dumps({"peak": peak(), "imported": imported, "cpu_seconds": round(time.process_time() - began, 1)}))


def peak() -> float:
    """Maximum resident set of this process so far, in MB (Linux counts in KiB)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def prepare(folder: Path, tokenizer: Path, width: int, layers: int) -> int:
    """Write a random base model and rows; returns its parameters."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    from llm_core.training.finetuning.rows import write_rows

    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(tokenizer)
    names = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    config = GPT2Config(
        n_embd=width, n_layer=layers, n_head=width // 64, vocab_size=len(words), n_positions=512, **names
    )
    model = GPT2LMHeadModel(config)
    model.save_pretrained(folder / "base")
    words.save_pretrained(folder / "base")
    rows = [
        {
            "id": str(number),
            "messages": [
                {"role": "user", "content": f"Question {number}: " + "what is it? " * (WORDS // 4)},
                {"role": "assistant", "content": "It is the answer. " * (WORDS // 4)},
            ],
        }
        for number in range(ROWS)
    ]
    (folder / "rows").mkdir()
    write_rows(folder / "rows", {"train": rows, "heldout": rows[:2], "test": rows[:2]})
    return model.num_parameters()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, default=Path("data/tokenizer"))
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--adapters", nargs="+", default=["lora", "qlora"], choices=["full", "lora", "qlora"])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("LLM_CORE_TRACKING", "off")
    if options.child:
        child(options.child[0], options.child[1], Path(options.child[2]), options.batch)
        return
    with tempfile.TemporaryDirectory() as temporary:
        found: dict = {"parameters": prepare(Path(temporary), options.tokenizer, options.width, options.layers)}
        for adapter in options.adapters:
            for scope in ("training", "verb"):
                command = [
                    sys.executable,
                    __file__,
                    "--batch",
                    str(options.batch),
                    "--child",
                    adapter,
                    scope,
                    temporary,
                ]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                figures = json.loads(out.splitlines()[-1])
                found["imported"] = figures["imported"]
                found.setdefault(adapter, {})[scope] = figures["peak"]
                found[adapter][f"{scope}_cpu_seconds"] = figures["cpu_seconds"]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
