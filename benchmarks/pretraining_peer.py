"""One contender of `pretraining_peers.py`, in a process of its own: trains some steps, prints CPU seconds of each.

    python benchmarks/pretraining_peer.py NAME SETTINGS.json

A global hook of torch reads the process's CPU time after each step of any optimizer, so programs run as they
were published, and what lies between two readings is a whole step: data, forward, backward, clipping, update, log.
"""

import json
import os
import resource
import runpy
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

MARKS: list[float] = []
RATE = 0.003


def _mark(*_: Any) -> None:
    MARKS.append(time.process_time())


def rows(settings: dict[str, Any]) -> torch.Tensor:
    """All training tokens end to end, cut into rows of T + 1: int64 [N, T + 1]."""
    stream = np.fromfile(settings["bin"], np.uint16).astype(np.int64)
    width = settings["length"] + 1
    return torch.from_numpy(stream[: len(stream) // width * width].reshape(-1, width))


def ours(settings: dict[str, Any], family: str, compiled: bool) -> None:
    """The project's verb, as a launcher's worker."""
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(settings["port"]), "LLM_CORE_TRACKING": "off"}  # fmt: skip
    Path("params.yaml").write_text("seed: 1\n")
    chosen = {
        "model.family": family, "model.layers": settings["layers"], "model.width": settings["width"],
        "model.heads": settings["heads"], "pretraining.steps": settings["steps"],
        "pretraining.sequence_length": settings["length"], "pretraining.micro_batch": settings["rows"],
        "pretraining.batch_tokens": settings["rows"] * settings["length"], "pretraining.packing": "concatenate",
        "pretraining.precision": settings["precision"], "pretraining.optimizer.learning_rate": RATE,
        "pretraining.compile": compiled, "pretraining.sample_every": 0, "pretraining.evaluate_every": 100000,
        "pretraining.evaluate_tokens_final": 1, "pretraining.checkpoint_every": 100000, "pretraining.threads": 1,
    }  # fmt: skip
    if family == "llama":
        chosen["model.feed_forward"] = settings["feed_forward"]
    overrides = [part for key, value in chosen.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    sys.argv = ["llm-core", "pretrain", "--tokens", settings["tokens"], "--tokenizer", settings["tokenizer"], "--out",
                "out", *overrides]  # fmt: skip
    runpy.run_module("llm_core.cli", run_name="__main__")


def trainer(settings: dict[str, Any], compiled: bool) -> None:
    """transformers' Trainer over LlamaForCausalLM."""
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=settings["vocabulary"], hidden_size=settings["width"], intermediate_size=settings["feed_forward"],
        num_hidden_layers=settings["layers"], num_attention_heads=settings["heads"],
        max_position_embeddings=settings["length"], tie_word_embeddings=True,
    )  # fmt: skip
    table = [{"input_ids": row[:-1], "labels": row[:-1]} for row in rows(settings)[: settings["rows"] * 200]]
    arguments = TrainingArguments(
        output_dir="out", max_steps=settings["steps"], per_device_train_batch_size=settings["rows"],
        learning_rate=RATE, lr_scheduler_type="cosine", warmup_steps=20, weight_decay=0.1, adam_beta2=0.95,
        bf16=settings["precision"] == "bf16", use_cpu=True, report_to="none", save_strategy="no", logging_steps=10,
        torch_compile=compiled, dataloader_pin_memory=False,
    )  # fmt: skip
    Trainer(model=LlamaForCausalLM(config), args=arguments, train_dataset=table).train()  # type: ignore[arg-type]


def nanogpt(settings: dict[str, Any], compiled: bool) -> None:
    """nanoGPT's train.py. On a CPU it trains in fp32; for bf16 the one line that says so is given autocast."""
    program = Path(settings["nanogpt"]) / "train.py"
    text = program.read_text()
    if settings["precision"] == "bf16":
        old = "nullcontext() if device_type == 'cpu' else torch.amp.autocast"
        assert old in text, "nanoGPT's train.py has changed: no line `ctx = nullcontext() …`"
        text = text.replace(old, "torch.amp.autocast")
    data = Path("data/corpus")
    data.mkdir(parents=True)
    for name in ("train.bin", "val.bin"):
        (data / name).symlink_to(settings["bin"])
    import pickle  # nanoGPT's own format for the size of the vocabulary

    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": settings["vocabulary"]}))
    Path("configurator.py").write_text((program.parent / "configurator.py").read_text())
    flags = {
        "dataset": "corpus", "device": "cpu", "dtype": {"bf16": "bfloat16", "fp32": "float32"}[settings["precision"]],
        "compile": compiled, "eval_iters": 1, "eval_interval": 100000, "log_interval": 10,
        "batch_size": settings["rows"], "block_size": settings["length"], "gradient_accumulation_steps": 1,
        "n_layer": settings["layers"], "n_head": settings["heads"], "n_embd": settings["width"],
        "max_iters": settings["steps"] - 1, "learning_rate": RATE, "warmup_iters": 20,
    }  # fmt: skip
    sys.argv = ["train.py", *(f"--{key}={value}" for key, value in flags.items())]
    sys.path.insert(0, str(program.parent))
    exec(compile(text, str(program), "exec"), {"__name__": "__main__", "__file__": str(program)})


def litgpt(settings: dict[str, Any], compiled: bool) -> None:
    """`litgpt pretrain` by its Python entry, with a data module over the same rows. It always compiles."""
    sys.path.insert(0, settings["litgpt"])
    sys.argv = ["litgpt", "same"]  # it parses the command line again when it saves
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.config import Config
    from litgpt.data import DataModule
    from litgpt.pretrain import setup

    if not compiled:
        torch.compile = lambda model, *_, **__: model  # type: ignore[assignment]

    class Corpus(DataModule):
        def connect(self, tokenizer: Any = None, batch_size: int = 1, max_seq_length: Any = None, **_: Any) -> None:
            pass

        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(rows(settings), batch_size=settings["rows"], shuffle=True)

        val_dataloader = train_dataloader

    config = Config(
        name="same", block_size=settings["length"], padded_vocab_size=settings["vocabulary"],
        vocab_size=settings["vocabulary"], n_layer=settings["layers"], n_head=settings["heads"],
        n_embd=settings["width"], rotary_percentage=1.0, parallel_residual=False, bias=False, norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP", intermediate_size=settings["feed_forward"],
    )  # fmt: skip
    batch = settings["rows"]
    setup(
        "same", config, out_dir=Path("out"), precision={"bf16": "bf16-mixed", "fp32": "32-true"}[settings["precision"]],
        data=Corpus(), logger_name="csv", devices=1,
        train=TrainArgs(
            save_interval=None, log_interval=10, global_batch_size=batch, micro_batch_size=batch, max_norm=1.0,
            max_tokens=settings["steps"] * batch * settings["length"], lr_warmup_steps=20, min_lr=RATE / 10,
            max_seq_length=settings["length"], tie_embeddings=True,
        ),
        eval=EvalArgs(interval=100000, max_iters=1, final_validation=False),
        optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": RATE, "betas": (0.9, 0.95)}},
    )  # type: ignore[arg-type]  # fmt: skip


def nanochat(settings: dict[str, Any], compiled: bool) -> None:
    """nanochat's model and optimizer in the step of its scripts/base_train.py, which wants its own data and tokenizer.

    Its network has more tables (an untied head, value embeddings) and the same size of blocks and head.
    """
    os.environ["NANOCHAT_DTYPE"] = {"bf16": "bfloat16", "fp32": "float32"}[settings["precision"]]
    sys.path.insert(0, settings["nanochat"])
    from nanochat.gpt import GPT, GPTConfig

    torch.manual_seed(1)
    model = GPT(
        GPTConfig(
            sequence_len=settings["length"], vocab_size=settings["vocabulary"], n_layer=settings["layers"],
            n_head=settings["heads"], n_kv_head=settings["heads"], n_embd=settings["width"], window_pattern="L",
        )
    )  # fmt: skip
    model.init_weights()
    optimizer = model.setup_optimizer()
    if compiled:  # its optimizer is compiled in any case
        model = torch.compile(model, dynamic=False)
    order = torch.randperm(len(table := rows(settings)))
    for step in range(settings["steps"]):
        batch = table[order[step * settings["rows"] : (step + 1) * settings["rows"]]]
        loss = model(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
        loss.backward()
        optimizer.step()
        model.zero_grad(set_to_none=True)
        loss.item()


def main() -> None:
    name, settings = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    torch.set_num_threads(1)
    register_optimizer_step_post_hook(_mark)
    compiled = name.endswith("+compile")
    base = name.removesuffix("+compile")
    began = time.process_time()
    try:
        if base.startswith("ours"):
            ours(settings, base.split("-")[1], compiled)
        else:
            {"trainer": trainer, "nanogpt": nanogpt, "litgpt": litgpt, "nanochat": nanochat}[base](settings, compiled)
    except SystemExit as end:
        if end.code:
            raise
    gaps = sorted(b - a for a, b in pairwise(MARKS))
    least = 0.2 * gaps[len(gaps) * 3 // 4]  # ZeRO steps its groups of parameters one after the other: one step of ours
    marks = [MARKS[0], *(b for a, b in pairwise(MARKS) if b - a > least)]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "steps": [b - a for a, b in pairwise(marks)],
        "first": marks[0] - began + children.ru_utime + children.ru_stime,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    Path(settings["result"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
