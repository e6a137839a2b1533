"""The stage `pretrain`: token shards and a tokenizer in, a trained model in Hugging Face layout out."""

import fcntl
import time
from functools import partial
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.models.configs import SNAPSHOTS
from llm_core.params import Params
from llm_core.runtime import storage, timings
from llm_core.runtime.digests import content_digest
from llm_core.training.deepspeed_ops import leave_group
from llm_core.training.pretraining import launch
from llm_core.training.pretraining.checkpoints import LOCK, copy_all
from llm_core.training.pretraining.origins import check_parent_tokenizer, check_tokens
from llm_core.training.pretraining.run_log import SPIKE, spike_rows

SCRATCH = Path(".scratch")


def pretrain(params: Params, tokens: Path, tokenizer: Path, out: Path, arguments: list[str]) -> int:
    """Train by `params` in new processes, each of which runs this verb with `arguments`; returns the exit code.

    Raises UserError: no tokens or tokenizer, settings that exclude each other, a loss that is no number.
    """
    folder = train_tokens(tokens)
    if not (tokenizer / "tokenizer.json").is_file():
        raise UserError(f"{tokenizer}: holds no tokenizer.json; `llm-core train-tokenizer` writes one")
    for side in dict.fromkeys([folder, tokens / "heldout"]):  # before any process is started
        if side.is_dir():
            check_tokens(TokenShards(side), tokenizer)
    if params.pretraining.parent:
        check_parent_tokenizer(Path(params.pretraining.parent), tokenizer, params.pretraining.grow_vocabulary)
    if not launch.is_worker():
        return launch.launch(params.launch.pretraining, params.pretraining, arguments)
    launch.guard()
    _work(params, tokens, tokenizer, out)
    return 0


def train_tokens(tokens: Path) -> Path:
    """The folder of training shards in a folder that `llm-core tokenize` wrote, or that folder itself."""
    folder = tokens / "train" if (tokens / "train").is_dir() else tokens
    if not storage.glob_files(folder, "*.arrow"):
        raise UserError(f"{folder}: holds no token shards (*.arrow); `llm-core tokenize` writes them")
    return folder


def _work(params: Params, tokens: Path, tokenizer_folder: Path, out: Path) -> None:
    from llm_core.runtime.nested import flatten
    from llm_core.tracking import runs
    from llm_core.training.pretraining import engine as engines
    from llm_core.training.pretraining.assemble import assemble
    from llm_core.training.pretraining.checkpoints import Checkpoints, fingerprint

    world = engines.world()
    engines.join(params.pretraining.offload != "none")
    folder = train_tokens(tokens)
    precision = engines.resolve_precision(params.pretraining.precision)
    digests = content_digest(folder), content_digest(tokenizer_folder / "tokenizer.json")
    name = fingerprint(params, *digests, precision)
    scratch = SCRATCH / "pretraining" / name
    beginning = None
    if params.pretraining.extendable:
        beginning = SCRATCH / "pretraining" / f"beginning-{fingerprint(params, *digests, precision, beginning=True)}"
    locks = [_lock(place) for place in (scratch, beginning) if place] if world.main else []
    engines.barrier()
    settings = {"seed": params.seed} | flatten(params.model, "model.") | flatten(params.pretraining, "pretraining.")
    previous = scratch / "mlflow_run"
    fresh = not previous.exists() and not beginning  # otherwise it may go on in the middle
    start = Path(params.pretraining.parent).name if params.pretraining.parent else params.model.family
    with runs.run(
        f"pretrain-{start}", settings, {"precision": precision, "fingerprint": name} | _where(params, world.size),
        previous.read_text() if previous.exists() else None,
    ) as tracked:  # fmt: skip
        if world.main:
            previous.write_text(tracked.run_id)
            tracked.dataset(folder, "training")
            if (tokens / "heldout").is_dir():
                tracked.dataset(tokens / "heldout", "heldout")
        training = assemble(params, tokens, tokenizer_folder, scratch, precision, world, tracked)
        if beginning:
            training.trunk = Checkpoints(beginning, 1, world.main)
        origin = _origin(params, folder, digests[0]) if world.main else {}
        training.snapshot = partial(_snapshot, params, training, origin, scratch)
        try:
            began = time.monotonic()
            training.run()
            if fresh:
                timings.note_pace("pretraining.steps", training.step, time.monotonic() - began)
        except KeyboardInterrupt:
            training.say_kept()
            raise
        _finish(params, training, origin, out, precision, scratch)
        if world.main:
            digest = content_digest(out)
            tracked.tags({"model_digest": digest})
            spikes = spike_rows(out / "training_log.jsonl", out)
            tracked.table(spikes, "unusual_steps.html")
            tracked.describe(described(storage.read_json(out / "metrics.json"), folder, out))
            tracked.dataset(out, "model")
            tracked.model(out, digest)
    engines.barrier()
    training.checkpoints.clear()
    del locks
    leave_group()


def described(metrics: dict[str, Any], tokens: Path, out: Path) -> str:
    """What a run came to, as Markdown for MLflow's description of it."""
    seen = f"{metrics['tokens']:,} tokens in {metrics['steps']:,} steps ({metrics['epochs']:.2f} epochs)"
    size = f"{metrics['parameters'] / 1e6:.1f} million parameters, {seen}"
    heldout = {key: value for key, value in metrics.items() if key.startswith("heldout_")}
    figures = [
        f"- {key.replace('heldout_', 'held-out text, ').replace('_', ' ').replace('/', ', ')}: {value:.4f}"
        for key, value in heldout.items()
    ]
    return "\n".join([f"**{size}**", "", *figures, f"- data: `{tokens}`; model: `{out}`"])


def _where(params: Params, processes: int) -> dict[str, str]:
    """Where it is trained, as tags: no stage depends on it, so it is none of the run's params.

    `processes` is the number that train, for a section that leaves it open.
    """
    from llm_core.runtime.nested import flatten

    section = params.launch.pretraining
    if not section.processes:
        section = section.model_copy(update={"processes": processes})
    return {key: str(value) for key, value in flatten(section, "launch.pretraining.").items()}


def _origin(params: Params, folder: Path, digest: str) -> dict[str, Any]:
    """What the model is trained on and from, which is the same in every record of the run."""
    parent = params.pretraining.parent
    return {
        "tokens": str(folder),
        "tokens_digest": digest,
        "parent": parent,
        **({"parent_digest": content_digest(Path(parent))} if parent else {}),
    }


def _record(training: Any, origin: dict[str, Any]) -> dict[str, Any]:
    """The training record of the model as it is now, training_data.json."""
    return origin | {"loader": training.batches.state_dict(), "steps": training.step}


def _weights(params: Params, training: Any, scratch: Path) -> Any:
    """The weights as they are now; all ranks call it."""
    from llm_core.training.pretraining.export import Weights

    settings = params.pretraining
    return Weights(
        training.engine.module.network, settings.zero_stage, scratch, settings.shard_bytes, training.world
    )  # fmt: skip


def _snapshot(params: Params, training: Any, origin: dict[str, Any], scratch: Path) -> None:
    """Keep the model as it is now in the run's folder, whole or not at all."""
    weights = _weights(params, training, scratch)
    if training.world.main:
        kept = scratch / SNAPSHOTS / f"step{training.step:08d}"
        with storage.output_folder(kept) as made:
            weights.export(training.tokenizer, made, bool(params.pretraining.parent))
            storage.write_json(made / "training_data.json", _record(training, origin))
    weights.close()


def _finish(params: Params, training: Any, origin: dict[str, Any], out: Path, precision: str, scratch: Path) -> None:
    from llm_core.training.pretraining.engine import barrier

    found = training.measure(params.pretraining.evaluate_tokens_final)
    if found:
        training.reports.heldout(training.step, found, last=True)
    weights = _weights(params, training, scratch)
    if training.world.main:
        rows = training.reports.log.rows()
        losses = [row["loss"] for row in rows if "loss" in row]
        metrics = {
            "parameters": weights.parameters,
            "steps": training.step,
            **({"planned_steps": training.steps} if training.stopped else {}),
            "tokens": training.tokens(),
            "flops": round(training.reports.flops(training.step)),
            "spikes": len({row["step"] for row in rows if SPIKE in row}),
            "epochs": round(training.batches.epoch(training.step), 4),
            **{f"phase/{key}/tokens": value for key, value in training.plan.tokens_of_phases(training.step).items()},
            **training.batches.mixture_figures(training.step),
            "precision": precision,
            "compiled": training.choice.compiled,
            "final_loss": losses[-1],
            **{key: round(value, 6) for key, value in found.items()},
        }
        with storage.output_folder(out) as made:
            weights.export(training.tokenizer, made, bool(params.pretraining.parent))
            storage.write_json(made / "metrics.json", metrics)
            storage.write_json(made / "training_data.json", _record(training, origin))
            copy_all([scratch / SNAPSHOTS], made)
            (made / "training_log.jsonl").write_bytes(training.reports.log.file.read_bytes())
            curve = "".join(f"{row['step']},{row['loss']}\n" for row in rows if "loss" in row)
            (made / "loss.csv").write_text(f"step,loss\n{curve}")  # `dvc plots` reads no JSON lines
        training.reports.tracked.metrics(
            {key: value for key, value in metrics.items() if key not in found}, training.step
        )
        from llm_core.runtime import progress

        progress.report(metrics)
    barrier()
    weights.close()


def _lock(scratch: Path) -> Any:
    """Lock the run's folder; a run that was just killed may need a moment to release it."""
    scratch.mkdir(parents=True, exist_ok=True)
    stream = open(scratch / LOCK, "w")  # noqa: SIM115 - held until the process ends
    for _ in range(100):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return stream
        except BlockingIOError:
            time.sleep(0.1)
    raise UserError(
        f"{scratch}: another process trains this same run (same params and data), or, extendable, one that begins like "
        "it; wait for it or end it"
    )
