"""A tiny corpus, tokenizer and params for whole runs of `llm-core pretrain`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.formats.token_shards import TokenWriter, token_schema
from llm_core.runtime.digests import file_digest
from llm_core.training.deepspeed_ops import extensions_folder
from tests.llm_core.formats.test_token_shards import batch
from tests.warm import start

SPECIAL = ["<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
SETTINGS = {
    "model.layers": 2,
    "model.width": 32,
    "model.heads": 2,
    "model.feed_forward": 64,
    "pretraining.steps": 12,
    "pretraining.sequence_length": 32,
    "pretraining.batch_tokens": 256,
    "pretraining.micro_batch": 4,
    "pretraining.precision": "fp32",
    "pretraining.optimizer.warmup_steps": 2,
    "pretraining.optimizer.learning_rate": 0.01,
    "pretraining.log_every": 1,
    "pretraining.checkpoint_every": 2,
    "pretraining.evaluate_every": 6,
    "pretraining.evaluate_tokens": 200,
    "pretraining.evaluate_tokens_final": 400,
    "pretraining.sample_every": 0,
    "pretraining.zero_stage": 1,
}


def make(folder: Path) -> Path:
    """A folder with `tokens/{train,heldout}` of a byte-sized vocabulary and `tokenizer`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=SPECIAL[0], eos_token=SPECIAL[1], pad_token=SPECIAL[2],
        extra_special_tokens=SPECIAL[3:],
    )  # fmt: skip
    tokenizer.save_pretrained(folder / "tokenizer")
    generator = np.random.default_rng(0)
    words = ["the", "people", "of", "these", "states", "have", "a", "law", "and", "peace", "shall", "be"]
    schema = token_schema(len(vocabulary), file_digest(folder / "tokenizer" / "tokenizer.json"))
    for side, count in (("train", 60), ("heldout", 6)):
        with TokenWriter(folder / "tokens" / side, schema) as writer:
            for number in range(count):
                text = " ".join(generator.choice(words, generator.integers(5, 40)).tolist())
                ids = [0, *tokenizer(text, add_special_tokens=False)["input_ids"], 1]
                row = (f"{side}{number}", "xy"[number % 2], len(text), ids)
                writer.write(batch([row], schema))
    (folder / "params.yaml").write_text("seed: 7\n")
    return folder


def command(folder: Path, out: str = "out", **settings: Any) -> list[str]:
    """The command line of a tiny run; `settings` with `__` for dots override SETTINGS."""
    chosen = SETTINGS | {key.replace("__", "."): value for key, value in settings.items()}
    overrides = [part for key, value in chosen.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return [sys.executable, "-m", "llm_core.cli", "pretrain", "--tokens", "tokens", "--tokenizer", "tokenizer",
            "--out", out, *overrides]  # fmt: skip


def environment() -> dict[str, str]:
    """One thread, no tracking, the ops that are already built."""
    project = Path(__file__).resolve().parents[4]
    return os.environ | {
        "LLM_CORE_TRACKING": "off", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(project),
        "TORCH_EXTENSIONS_DIR": str(extensions_folder()),
    }  # fmt: skip


def run(folder: Path, out: str = "out", **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run it to the end in `folder`, in processes that start warm."""
    return subprocess.run(
        [start.python(), *command(folder, out, **settings)[1:]],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )


def losses(folder: Path, out: str = "out") -> list[float]:
    """The logged loss of each step."""
    rows = [json.loads(line) for line in (folder / out / "training_log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]
