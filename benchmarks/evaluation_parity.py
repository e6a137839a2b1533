"""Our benchmark scores against lm-eval's own command line on real items, and batches of 1 against batches of 32.

    python benchmarks/evaluation_parity.py --benchmarks data/benchmarks --tokenizer data/tokenizer

The model is a GPT-2 of two layers with random weights, made here and saved to a folder, or `--model FOLDER`. The
command line gets the same items by `--samples` and our task files by `--include_path` (lm-eval's definitions with the
place of the data replaced). Every number that both print is compared with `==`; log-likelihoods of every item are
compared between the batch sizes. Exit code 1 where a score differs. lm-eval is among the project's requirements.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TASKS = [
    "arc_easy",
    "boolq",
    "copa",
    "hellaswag",
    "lambada_openai",
    "openbookqa",
    "piqa",
    "sciq",
    "winogrande",
    "gsm8k",
]


def make_gpt2(tokenizer: Path, folder: Path) -> Path:
    """A GPT-2-shaped model with random weights and the tokenizer at `tokenizer`."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    words = AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=len(words), n_positions=1024, n_embd=64, n_layer=2, n_head=2, initializer_range=0.2,
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def command_line(model: Path, tasks: Path, samples: dict[str, list[int]], batch: int, out: Path) -> dict[str, dict]:
    """The results that `lm_eval run` writes."""
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf"]
    command += ["--model_args", f"pretrained={model},dtype=float32", "--tasks", *samples, "--device", "cpu"]
    command += ["--include_path", str(tasks), "--samples", json.dumps(samples), "--batch_size", str(batch)]
    command += ["--output_path", str(out)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(next(out.rglob("results*.json")).read_text())["results"]


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--tokenizer", type=Path, default=Path("data/tokenizer"))
    parser.add_argument("--model", type=Path, help="a causal model in Hugging Face layout, in place of the random one")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--limit", type=int, default=40, help="items of each task")
    arguments = parser.parse_args()

    from llm_core.evaluation.harness import score_benchmarks, summarize
    from llm_core.evaluation.stage import load
    from llm_core.evaluation.tasks import write_tasks
    from llm_core.params.evaluation import Evaluation

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = arguments.model or make_gpt2(arguments.tokenizer, folder / "gpt2")
        network, tokenizer = load(model)
        rows = {}
        for size in (1, 32):
            settings = Evaluation(tasks=arguments.tasks, limit=arguments.limit, batch_size=size)
            rows[size] = score_benchmarks(network, tokenizer, arguments.benchmarks, settings)
        ours = summarize(rows[32])
        samples, _ = write_tasks(arguments.tasks, arguments.benchmarks, folder / "tasks", arguments.limit)
        theirs = command_line(model, folder / "tasks", samples, 32, folder / "out")

    unequal = 0
    print("| task | items | metric | ours | lm_eval | equal |\n|---|---:|---|---:|---:|---|")
    for task in samples:
        for key, value in theirs[task].items():
            metric, _, reading = key.partition(",")
            name = metric if reading == "none" else f"{metric},{reading}"
            if metric == "perplexity_stderr" or not isinstance(value, float):
                continue  # theirs is a bootstrap over random draws, ours the delta method
            if reading != "none" and metric.endswith("_stderr"):
                name = f"{metric.removesuffix('_stderr')},{reading}_stderr"
            equal = ours[task][name] == value
            unequal += not equal
            print(f"| {task} | {ours[task]['items']} | {name} | {ours[task][name]!r} | {value!r} | {equal} |")
    print(f"\n{unequal} of them differ.\n\nBatches of 1 and of 32, fp32:")
    for task in arguments.tasks:
        pairs = [(a, b) for a, b in zip(rows[1], rows[32], strict=True) if a["task"] == task]
        keys = [key for key in pairs[0][0] if key not in ("task", "id")]
        changed = sum(any(a[key] != b[key] for key in keys if key != "perplexity") for a, b in pairs)
        nats = max((abs(a["perplexity"] - b["perplexity"]) for a, b in pairs if "perplexity" in a), default=None)
        print(f"- {task}: {changed} of {len(pairs)} items change their verdict"
              + (f"; log-likelihoods differ by at most {nats:.2g} nats" if nats is not None else ""))  # fmt: skip
    sys.exit(1 if unequal else 0)


if __name__ == "__main__":
    main()
