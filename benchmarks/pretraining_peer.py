"""One contender of `pretraining_peers.py`, in a process of its own: trains some steps, prints CPU seconds of each.

    python benchmarks/pretraining_peer.py NAME SETTINGS.json

A global hook of torch reads the process's CPU time after each step of any optimizer, so programs run as
published, and between two readings is a whole step: data, forward, backward, clipping, update, log.
"""

import json
import math
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from llm_core.formats.token_shards import TokenShards
from llm_core.params.pretraining import Pretraining
from llm_core.training.pretraining import heldout
from llm_core.training.pretraining.phases import PhasedBatches, Plan, plan_phases

MARKS: list[float] = []
RATE = 0.003


def _mark(*_: Any) -> None:
    MARKS.append(time.process_time())


def rows(settings: dict[str, Any]) -> torch.Tensor:
    """All training tokens end to end, cut into rows of T + 1: int64 [N, T + 1]."""
    stream = np.fromfile(settings["bin"], np.uint16).astype(np.int64)
    width = settings["length"] + 1
    return torch.from_numpy(stream[: len(stream) // width * width].reshape(-1, width))


def ours(settings: dict[str, Any], family: str, optimizer: str, compiled: bool) -> None:
    """The project's verb, as a launcher's worker, with AdamW as the other projects have, or Muon as params.yaml has."""
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(settings["port"]), "LLM_CORE_TRACKING": "off"}  # fmt: skip
    Path("params.yaml").write_text(f"seed: {settings.get('seed', 1)}\n")
    chosen = {
        "model.family": family, "model.layers": settings["layers"], "model.width": settings["width"],
        "model.heads": settings["heads"], "pretraining.steps": settings["steps"],
        "pretraining.sequence_length": settings["length"], "pretraining.micro_batch": settings["rows"],
        "pretraining.batch_tokens": settings["rows"] * settings["length"], "pretraining.packing": "concatenate",
        "pretraining.precision": settings["precision"], "pretraining.optimizer.name": optimizer,
        "pretraining.optimizer.learning_rate": {"adamw": RATE, "muon": 0.01}[optimizer],
        "pretraining.compile": compiled, "pretraining.sample_every": 0, "pretraining.evaluate_every": 10**6,
        "pretraining.evaluate_tokens_final": settings.get("heldout_tokens") or 1,
        "pretraining.checkpoint_every": 10**6, "launch.pretraining.threads": 1, "pretraining.zero_stage": 0,
    }  # fmt: skip
    if settings.get("heldout_tokens"):
        chosen["pretraining.packing"] = "best_fit"
    if family == "llama":
        chosen["model.feed_forward"] = settings["feed_forward"]
    if settings.get("phases"):
        chosen |= {"pretraining.steps": None, "pretraining.phases": settings["phases"]}
    chosen |= settings.get("changes") or {}
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
    """nanoGPT's train.py. On a CPU it trains in fp32; for bf16 the line that decides this gets autocast."""
    program = Path(settings["nanogpt"]) / "train.py"
    text = program.read_text().replace("torch.manual_seed(1337 ", f"torch.manual_seed({settings.get('seed', 1337)} ")
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
        "max_iters": settings["steps"] - 1, "warmup_iters": 20, "learning_rate": settings.get("rate") or RATE,
        "lr_decay_iters": settings["steps"] - 1, "min_lr": (settings.get("rate") or RATE) / 10,
    }  # fmt: skip
    sys.argv = ["train.py", *(f"--{key}={value}" for key, value in flags.items())]
    sys.path.insert(0, str(program.parent))
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(program)}
    exec(compile(text, str(program), "exec"), names)
    if settings.get("heldout_tokens"):
        settings["context"] = min(settings.get("context") or settings["length"], settings["length"])  # its positions
        network = names["raw_model"].eval()

        def losses(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            with names["ctx"]:
                logits, _ = network(ids, targets)
            return torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none"
            )

        settings["heldout_bits_per_byte"] = _bits_per_byte(losses, settings)


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
    """nanochat's model and optimizer in the step and by the schedules of its scripts/base_train.py, which
    needs its own data and tokenizer. The batches are this project's.

    Its network has more tables (an untied head, value embeddings) and the same size of blocks and head. By its rule
    learning rates shrink with the square root of the batch below 524,288 tokens; "rate" is another factor.
    """
    os.environ["NANOCHAT_DTYPE"] = {"bf16": "bfloat16", "fp32": "float32"}[settings["precision"]]
    sys.path.insert(0, settings["nanochat"])
    from nanochat.gpt import GPT, GPTConfig

    plan, batches = _phased_batches(settings)
    longest = max(phase.sequence_length for phase in plan.phases)

    def built(layers: int, width: int) -> Any:
        return GPT(
            GPTConfig(
                sequence_len=longest, vocab_size=settings["vocabulary"], n_layer=layers,
                n_head=width // 64, n_kv_head=width // 64, n_embd=width, window_pattern="L",
            )
        )  # fmt: skip

    torch.manual_seed(settings.get("seed", 1))
    model = whole = built(settings["layers"], settings["width"])
    model.init_weights()
    with torch.device("meta"):
        sizes = [net.num_scaling_params() for net in (model, built(12, 768))]
    ours, reference = (size["transformer_matrices"] + size["lm_head"] for size in sizes)
    share = (plan.tokens / plan.steps / 2**19) ** 0.5
    rate = settings.get("rate") or share
    decay = 0.28 * share * reference / ours
    optimizer = model.setup_optimizer(
        unembedding_lr=0.008 * rate, embedding_lr=0.3 * rate, scalar_lr=0.5 * rate, matrix_lr=0.02 * rate,
        weight_decay=decay,
    )  # fmt: skip
    if compiled:  # its optimizer is compiled in any case
        model = torch.compile(model, dynamic=False)
    steps = plan.steps
    cooling = round(0.65 * steps)
    for step in range(steps):
        _, phase = plan.of(step)
        (batch,) = batches.micro_batches(step, phase.batch_tokens // phase.sequence_length, 0, 1)
        targets = torch.from_numpy(np.where(batch.targets < 0, -1, batch.targets))
        loss = model(torch.from_numpy(batch.input_ids), targets)
        loss.backward()
        left = (steps - step) / cooling
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * min((step + 1) / 40, 1.0, 0.05 + 0.95 * left)
            if group["kind"] == "muon":
                warm = 0.85 + 0.12 * step / 400
                group["momentum"] = warm if step < 400 else min(0.97, 0.90 + 0.07 * left)
                group["weight_decay"] = decay * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step()
        model.zero_grad(set_to_none=True)
        loss.item()
    if settings.get("heldout_tokens"):
        whole.eval()
        settings["heldout_bits_per_byte"] = _bits_per_byte(
            lambda ids, targets: whole(ids, targets, loss_reduction="none"), settings | {"length": longest}
        )


def _phased_batches(settings: dict[str, Any]) -> tuple[Plan, PhasedBatches]:
    """The plan and the loader that this project's own training would have with the same phases."""
    alone = {"name": "all", "steps": settings["steps"], "sequence_length": settings["length"]}
    alone["batch_tokens"] = settings["rows"] * settings["length"]
    params = Pretraining(phases=settings.get("phases") or [alone], micro_batch=10**6)
    plan = plan_phases(params, 8, 1, 1)
    shards = TokenShards(Path(settings["tokens"]) / "train")
    return plan, PhasedBatches.of_plan(shards, plan, params, settings.get("seed", 1), settings["pad"])


@torch.no_grad()
def _bits_per_byte(token_losses: Callable[..., torch.Tensor], settings: dict[str, Any]) -> float:
    """What `llm-core pretrain` measures, of another network: the same documents, windows and bytes.

    `token_losses` gives the loss of each target [B, T] in nats, 0 where it is -1.
    """
    shards = TokenShards(Path(settings["tokens"]) / "heldout")
    documents = heldout.sample_documents(shards, settings["heldout_tokens"], settings.get("seed", 1))
    nats = dict.fromkeys(documents, 0.0)
    for batch, owners in heldout.heldout_batches(
        shards, sequence_length=settings.get("context") or settings["length"], batch_size=settings["rows"],
        pad_id=settings["pad"], documents=documents,
    ):  # fmt: skip
        targets = torch.from_numpy(np.where(batch.targets < 0, -1, batch.targets))
        losses = token_losses(torch.from_numpy(batch.input_ids), targets).view(targets.shape)
        for owner, loss in zip(owners.tolist(), losses.double().sum(1).tolist(), strict=True):
            nats[owner] += loss
    return heldout.bits_per_byte(shards, nats)["all"]


def main() -> None:
    name, settings = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    torch.set_num_threads(1)
    register_optimizer_step_post_hook(_mark)
    compiled = name.endswith("+compile")
    if name.endswith("+eager"):  # what a program compiles in any case, too
        torch.compiler.set_stance("force_eager")
    base = name.removesuffix("+compile").removesuffix("+eager")
    began = time.process_time()
    try:
        if base.startswith("ours"):
            _, family, *rest = base.split("-")
            ours(settings, family, rest[0] if rest else "adamw", compiled)
        else:
            {"trainer": trainer, "nanogpt": nanogpt, "litgpt": litgpt, "nanochat": nanochat}[base](settings, compiled)
    except SystemExit as end:
        if end.code:
            raise
    gaps = sorted(b - a for a, b in pairwise(MARKS))
    least = 0.2 * gaps[len(gaps) * 19 // 20]  # Muon and AdamW step their groups one after the other: one step of ours
    marks = [MARKS[0], *(b for a, b in pairwise(MARKS) if b - a > least)]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "steps": [b - a for a, b in pairwise(marks)],
        "first": marks[0] - began + children.ru_utime + children.ru_stime,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "spent": marks[-1] + children.ru_utime + children.ru_stime,  # from the start of the process to the last step
        "heldout_bits_per_byte": settings.get("heldout_bits_per_byte"),
    }
    if settings.get("heldout_tokens") and base.startswith("ours"):
        found |= json.loads(Path("out/metrics.json").read_text())
    Path(settings["result"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
