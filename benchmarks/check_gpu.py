"""Everything that can go wrong on a GPU, in at most five minutes on one: `make check-gpu`.

    PYTHONPATH=. python benchmarks/check_gpu.py [--only WORD …] [--seconds 300]
    PYTHONPATH=. python benchmarks/check_gpu.py --device cpu --tiny      # the script itself, as far as a CPU goes

Pretraining in each precision, compiled, with each attention kernel, under each ZeRO stage, and resumed; every
finetuning method with all weights, LoRA and QLoRA; bits per byte, generation, sentence vectors and a server, each
compared with the same on the CPU. Prints a table; exits with 1 where a check fails or was not reached, and with 0 where
there is no GPU. Speeds are those of the second half of the steps; utilisation is the model's own operations over what
products of matrices reach in the same precision (llm_core/training/pretraining/machine.py).
"""

import argparse
import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from llm_core.params import load
from llm_core.tracking import runs
from llm_core.training.deepspeed_ops import leave_group
from llm_core.training.processes import single_process
from tests.llm_core.training.finetuning import tiny as finetunes
from tests.llm_core.training.pretraining import tiny

Row = dict[str, Any]
LARGE = {
    "model.layers": 8, "model.width": 1024, "model.heads": 16, "model.feed_forward": 2816,
    "pretraining.sequence_length": 1024, "pretraining.batch_tokens": 65536, "pretraining.micro_batch": 16,
    "pretraining.steps": 12, "pretraining.log_every": 6,
}  # fmt: skip
SMALL = {"pretraining.steps": 4, "pretraining.log_every": 2}
QUIET = {
    "pretraining.checkpoint_every": 10**6,
    "pretraining.evaluate_every": 10**6,
    "pretraining.optimizer.learning_rate": 0.001,
}
PRETRAINING: dict[str, dict[str, Any]] = {
    "fp32": {"pretraining.precision": "fp32"},
    "bf16": {"pretraining.precision": "bf16"},
    "bf16, Muon": {"pretraining.precision": "bf16", "pretraining.optimizer.name": "muon"},
    "bf16, compiled": {"pretraining.precision": "bf16", "pretraining.compile": True},
    "bf16, ZeRO 0": {"pretraining.precision": "bf16", "pretraining.zero_stage": 0},
    "bf16, ZeRO 2": {"pretraining.precision": "bf16", "pretraining.zero_stage": 2},
    "bf16, ZeRO 3": {"pretraining.precision": "bf16", "pretraining.zero_stage": 3},
    "bf16, activation checkpointing": {"pretraining.precision": "bf16", "pretraining.activation_checkpointing": True},
}
NEED_GPU: dict[str, dict[str, Any]] = {
    "fp16": {"pretraining.precision": "fp16"},
    "bf16, flash attention of SDPA": {"pretraining.precision": "bf16", "model.attention": "sdpa"},
    "bf16, flex attention": {"pretraining.precision": "bf16", "model.attention": "flex_attention"},
}
FAMILY = {"token_classification": "bert", "contrastive": "bert", "translation": "t5", "summarization": "t5"}


class Figures(runs.Run):
    """Keeps what a training would send to MLflow."""

    def __init__(self) -> None:
        super().__init__(None, "", "")
        self.last: Row = {}

    def metrics(self, metrics: Any, step: int | None = None) -> None:
        self.last |= dict(metrics)


class Checks:
    """Runs checks one after another until the time is over, and prints a row of the table for each."""

    def __init__(self, device: str, small: bool, seconds: float, only: list[str]) -> None:
        self.device, self.small, self.only = device, small, only
        self.end, self.failed, self.base = time.monotonic() + seconds, 0, Path.cwd()
        print("| check | result | seconds | tokens a second | utilisation | memory, GB | figures |")
        print("|---|---|---|---|---|---|---|", flush=True)

    def __call__(self, name: str, work: Callable[[], Row], skipped: str = "") -> None:
        """Print a row of what `work` finds; any error makes the row, and the script, fail."""
        if self.only and not any(word in name for word in self.only):
            return
        began, found, result = time.monotonic(), {}, f"skipped: {skipped}" if skipped else "ok"
        if not skipped and began > self.end:
            result, self.failed = "NOT RUN: no time left", self.failed + 1
        elif not skipped:
            if self.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            said = io.StringIO()
            try:
                with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                    found = work()
            except Exception as error:  # each check by itself: one that fails does not hide the others
                result = f"FAILED: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:160]}"
                self.failed += 1
            gc.collect()
        memory = torch.cuda.max_memory_allocated() / 1e9 if self.device == "cuda" and not skipped else None
        speed, share = found.pop("tokens_per_second", None), found.pop("flops_utilization", None)
        cells = [
            name, result, f"{time.monotonic() - began:.1f}", "" if speed is None else f"{speed:,.0f}",
            "" if share is None else f"{share:.1%}", "" if memory is None else f"{memory:.2f}",
            ", ".join(f"{key} {value:.6g}" for key, value in found.items()),
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)


def pretrained(folder: Path, changes: Row, scratch: Path) -> Any:
    """A training of the tiny corpus with `changes`, run to its end; its figures are in `tracked.last`."""
    from llm_core.training.pretraining import engine as engines
    from llm_core.training.pretraining.assemble import assemble

    settings = tiny.SETTINGS | QUIET | changes
    params = load(folder / "params.yaml", [f"{key}={json.dumps(value)}" for key, value in settings.items()])
    precision = engines.resolve_precision(params.pretraining.precision)
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "lock").touch()
    training = assemble(params, folder / "tokens", folder / "tokenizer", scratch, precision, engines.world(), Figures())
    training.run()
    return training


def losses(training: Any) -> list[float]:
    return [row["loss"] for row in training.reports.log.rows() if "loss" in row]


def pretraining_row(folder: Path, changes: Row) -> Row:
    with tempfile.TemporaryDirectory() as scratch:
        training = pretrained(folder, changes, Path(scratch) / "run")
        found = losses(training)
        if not found[-1] < found[0]:
            raise RuntimeError(f"the loss does not fall: {found}")
        figures = training.reports.tracked.last
        kept = {name: figures[name] for name in ("tokens_per_second", "flops_utilization")}
        return kept | {"first loss": found[0], "last loss": found[-1]}


def resumed_row(folder: Path, changes: Row) -> Row:
    """A training that goes on from a checkpoint in its middle ends with the loss of one that was not stopped."""
    with tempfile.TemporaryDirectory() as scratch:
        steps = changes["pretraining.steps"]
        halved = changes | {"pretraining.log_every": 1, "pretraining.checkpoint_every": steps // 2}
        whole = pretrained(folder, halved, Path(scratch) / "run")
        wanted = losses(whole)
        del whole
        gc.collect()
        again = pretrained(folder, halved, Path(scratch) / "run")
        found = losses(again)
        if len(found) != steps or abs(found[-1] - wanted[-1]) > 1e-5 * abs(wanted[-1]):
            raise RuntimeError(f"resumed: {found}; not stopped: {wanted}")
        return {"loss, not stopped": wanted[-1], "resumed": found[-1]}


def parity(folder: Path) -> Row:
    """Losses, bits per byte, sentence vectors and generated tokens of tiny models, to be compared between devices."""
    from llm_core.evaluation.language_modelling import Text, score_texts
    from llm_core.models.generation import Decoding, generate
    from llm_core.models.loading import load as load_model
    from llm_core.params.evaluation import LanguageModelling
    from llm_core.retrieval.encoders import Encoder

    found: Row = {}
    with tempfile.TemporaryDirectory() as scratch:
        fp32 = SMALL | {"pretraining.precision": "fp32", "pretraining.log_every": 1, "model.attention": "sdpa"}
        found["losses"] = losses(pretrained(folder, fp32, Path(scratch) / "run"))
        model = load_model(finetunes.model("llama", Path(scratch) / "llama"))
        texts = [Text("a", "x", "yes no spam ham", [0, *range(20, 40), 1])]
        found["bits"] = score_texts(model.network, texts, LanguageModelling(context=16, stride=8), 4, "parity")[0][
            "bits"
        ]
        found["tokens"] = generate(model, [[5, 6, 7], [8, 9]], Decoding(8))[0].ids
        encoder = Encoder(str(finetunes.model("bert", Path(scratch) / "bert")))
        found["vector"] = next(iter(encoder.batches(["What is the capital of Chad?"])))[1][0].tolist()
    return found


def parity_row(folder: Path) -> Row:
    """The differences between this device and the CPU, where another process computes the same."""
    command = [sys.executable, str(Path(__file__).resolve()), "--parity", str(folder)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"} | single_process()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"on the CPU: {done.stderr.strip().splitlines()[-1]}")
    there, here = json.loads(done.stdout.splitlines()[-1]), parity(folder)
    differences = {
        "loss": max(abs(a - b) for a, b in zip(here["losses"], there["losses"], strict=True)),
        "bits": abs(here["bits"] - there["bits"]),
        "vector": max(abs(a - b) for a, b in zip(here["vector"], there["vector"], strict=True)),
    }
    limits = {"loss": 1e-3, "bits": 1e-1, "vector": 2e-2}  # a GPU may encode in bfloat16 where the CPU does not
    wrong = [name for name, limit in limits.items() if not differences[name] <= limit]
    if wrong or here["tokens"] != there["tokens"]:
        raise RuntimeError(f"differs from the CPU: {differences}, tokens {here['tokens']} and {there['tokens']}")
    return {f"{name} differs by": value for name, value in differences.items()}


def finetuning_row(name: str, adapter: str) -> Row:
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        knobs = {"adapter": adapter} if adapter == "full" else {"adapter": adapter, "lora": {"rank": 4}}
        metrics = finetunes.run(name, FAMILY.get(name, "llama"), **knobs)
        if metrics["adapter"] != adapter:
            raise RuntimeError(f"{metrics['adapter']} ran in its place")
        return {"trained parameters": metrics["training"]["trained_parameters"]}


@contextlib.contextmanager
def served(model: Path, device: str) -> Iterator[int]:
    from tests.llm_core.serving.conftest import wait_for
    from tests.waiting import free_port

    port = free_port()
    command = [
        sys.executable,
        "-m",
        "llm_core.cli",
        "serve",
        "--model",
        str(model),
        "--port",
        str(port),
        "--device",
        device,
    ]
    with tempfile.TemporaryDirectory() as folder:
        environment = finetunes.environment() | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            wait_for(port, "/v1/models", server)
            yield port
        finally:
            server.terminate()
            server.wait()


def serving_row(device: str) -> Row:
    from tests.llm_core.serving.conftest import ask

    with tempfile.TemporaryDirectory() as folder:
        model = finetunes.model("llama", Path(folder) / "llama")
        with served(model, device) as port:
            body = {"model": str(model), "prompt": "yes no", "max_tokens": 8}
            status, text = ask(port, "/v1/completions", body)
        if status != 200:
            raise RuntimeError(f"status {status}: {text[:160]}")
        return {"tokens": json.loads(text)["usage"]["completion_tokens"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="models of some thousand weights")
    parser.add_argument("--seconds", type=float, default=300, help="no check begins later than this")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="checks whose name has one of these words"
    )
    parser.add_argument("--parity", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    os.environ.update({"LLM_CORE_TRACKING": "off"} | single_process())
    if chosen.device == "cuda" and not chosen.parity and not torch.cuda.is_available():
        print("check-gpu: skipped, because PyTorch finds no GPU here (--device cpu --tiny tries the script itself)")
        return 0
    if chosen.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    from llm_core.training.pretraining import engine as engines

    engines.join(offload=False)
    if chosen.parity:
        print(json.dumps(parity(chosen.parity)))
        leave_group()
        return 0
    if chosen.device == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}\n")
    with tempfile.TemporaryDirectory() as name:
        code = _checks(Checks(chosen.device, chosen.tiny, chosen.seconds, chosen.only), tiny.make(Path(name)))
    leave_group()
    return code


def _checks(check: Checks, folder: Path) -> int:
    from llm_core.training.finetuning.registry import methods

    size = SMALL if check.small else LARGE
    no_gpu = "" if check.device == "cuda" else "needs a GPU"
    check("parity with the CPU", lambda: parity_row(folder))
    for name, changes in PRETRAINING.items():
        check(f"pretraining, {name}", lambda changes=changes: pretraining_row(folder, size | changes))
    for name, changes in NEED_GPU.items():
        check(f"pretraining, {name}", lambda changes=changes: pretraining_row(folder, size | changes), no_gpu)
    check("pretraining, resumed", lambda: resumed_row(folder, SMALL))
    for method in methods():
        for adapter in ("full", "lora", "qlora"):
            check(
                f"finetuning, {method}, {adapter}",
                lambda method=method, adapter=adapter: finetuning_row(method, adapter),
            )
    check("serving", lambda: serving_row(check.device))
    print(f"\n{check.failed} failed" if check.failed else "\nall passed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
