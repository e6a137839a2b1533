"""The stage `finetune NAME`: from a model folder and rows to a finetuned model folder and its figures.

Every figure called `after` is measured on the model as written and loaded again, so the export is measured too.
Scratch lies in `.scratch/finetuning/`, keyed by a fingerprint of the run's knobs, seed, model, rows and library
versions: the same command after a kill resumes from the last complete checkpoint, and a different command starts anew.
"""

import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.finetuned import TESTED
from llm_core.evaluation.results import GROUP, group_of
from llm_core.models.configs import read_config
from llm_core.params import Params
from llm_core.runtime import json_lines, timings
from llm_core.runtime.digests import content_digest, short_hash
from llm_core.runtime.nested import flatten
from llm_core.runtime.progress import log, report
from llm_core.runtime.storage import finite, output_folder, write_json
from llm_core.tracking.dataset_cards import TAG, tokens_of_model
from llm_core.tracking.prompts import link_run, of_tokenizer
from llm_core.tracking.runs import Run, run
from llm_core.training.finetuning.conversation import load_tokenizer
from llm_core.training.finetuning.heads import ENCODER, GENERATION
from llm_core.training.finetuning.registry import check_applies
from llm_core.training.finetuning.registry import method as find_method
from llm_core.training.finetuning.rows import TRAINED, Row, names, read_rows

SCRATCH = Path(".scratch/finetuning")
LIBRARIES = ("torch", "transformers", "trl", "peft", "deepspeed")


def finetune(name: str, model: Path, data: Path, out: Path, params: Params) -> dict[str, Any]:
    """Finetune `model` on the prepared rows in `data` into `out`, as the run `name` says; returns the metrics.

    `name` is a run of `finetuning` in params, or a method, which then has its default knobs.

    `out` gets the model in the Hugging Face layout (merged, where adapters were trained), `adapter/` alone beside it,
    `training_log.jsonl`, `training_rows.jsonl` (the rows that each step saw), `test_items.jsonl` (the score of each
    test row), `samples.json`, `metrics.json`. On ranks above 0 nothing is written.
    """
    from llm_core.training.finetuning import models

    section = params.finetuning.run(name)
    method = section.method
    kind = check_applies(method, model)
    config = read_config(model)
    adapter = models.choose_adapter(section, config)
    if (positions := getattr(config, "max_position_embeddings", None)) and section.max_length > positions:
        raise UserError(f"{name}: max_length {section.max_length} is more than the {positions} positions of {model}")
    if adapter != section.adapter:
        log(f"finetune {name}: {section.adapter} cannot run here; using {adapter}, as qlora_fallback allows")
    rows = read_rows(data, method)
    parent = content_digest(model)
    libraries = {name: version(name) for name in LIBRARIES}
    knobs = section.model_dump(exclude={"parent", "data", "gate"}) | {"precision": models.resolve_precision(section)}
    settings = json.dumps([knobs, libraries], sort_keys=True)
    scratch = SCRATCH / f"{name}-{short_hash(settings, str(params.seed), parent, content_digest(data))[:16]}"
    if os.environ.get("RANK", "0") != "0":
        _train(method, model, kind, adapter, rows, section, params.seed, scratch, Run(None, "", ""))
        return {}
    noted = {"seed": params.seed, **flatten(knobs, f"finetuning.runs.{name}.")}
    tokens = {TAG: digest} if (digest := tokens_of_model(model)) else {}
    tags = {"finetune": name, "parent_model": str(model), "parent_digest": parent} | tokens
    with run(f"finetune-{name}", noted, tags) as current:
        current.dataset(model, "parent model")
        current.dataset(data, "training")
        with output_folder(out) as folder:
            metrics = _train(method, model, kind, adapter, rows, section, params.seed, scratch, current, folder)
            metrics |= {"run": name, "parent": {"path": str(model), "digest": parent} | tokens, "libraries": libraries}
            metrics["data"] = {"path": str(data), "digest": content_digest(data)}
            write_json(folder / "metrics.json", metrics)
        current.metrics(flatten(metrics))
        for file in ("metrics.json", "training_log.jsonl"):
            if (out / file).exists():
                current.artifact(out / file)
        samples = json.loads((out / "samples.json").read_text("utf-8"))
        current.table([{"when": when, **row} for when, rows in samples.items() for row in rows], "samples.html")
        current.tags({"model_digest": content_digest(out), "mlflow.note.content": described(method, metrics)})
    shutil.rmtree(scratch, ignore_errors=True)
    log(f"finetune {name}: use it with `llm-core {find_method(method).use.format(model=out)}`")
    report({"metrics": metrics})
    return metrics


def described(method: str, metrics: dict[str, Any]) -> str:
    """Explanations of a run's figures, as Markdown for MLflow's description of the run."""
    room = find_method(method)
    names = sorted({*metrics.get("before", {}), *metrics.get("after", {})})
    figures = {name: room.figure(name) for name in names}
    lines = [
        f"- `{name}`: {figure.title}" + (f" ({figure.unit})" if figure.unit else "") + _changed(metrics, name)
        for name, figure in figures.items()
    ]
    return "\n".join([room.help, "", *lines])


def _changed(metrics: dict[str, Any], name: str) -> str:
    """`: 5.13 before, **2.836** after`; nothing for a figure that has no value before or after."""
    pair = [metrics.get(when, {}).get(name) for when in ("before", "after")]
    before, after = (value.get("mean") if isinstance(value, dict) else value for value in pair)
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return ""
    return f": {before:.4g} before, **{after:.4g}** after"


def launch(processes: int, arguments: list[str]) -> int:
    """Run this command line again under torchrun with `processes` processes; returns its exit code."""
    import subprocess

    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run([*launcher, "-m", "llm_core.cli", *arguments], check=False).returncode


def _train(
    method: str,
    model: Path,
    kind: Any,
    adapter: str,
    rows: dict[str, list[dict[str, Any]]],
    section: Any,
    seed: int,
    scratch: Path,
    current: Run,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Measure, train, export into `folder`, measure again; without a folder (other ranks) only train."""
    from llm_core.models.loading import choose_device
    from llm_core.training.finetuning.scoring import sample_rows
    from llm_core.training.finetuning.training import Job

    room = find_method(method)
    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(str(model), chat=room.chat)
    if section.heldout_rows:
        rows = rows | {"heldout": sample_rows(rows["heldout"], section.heldout_rows, seed)}
    if room.chat:
        link_run(current, of_tokenizer(tokenizer))
    job = Job(method, model, kind, adapter, rows, section, seed, scratch, current, tokenizer)
    job.base = _start(job)
    figures: dict[str, Any] = {"test_rows_too_long": _leave_out_unaskable(job)}
    started = scratch / "before.json"
    if folder is not None:
        say_other_labels(job.base, room.labels(job))
        if not started.exists():
            write_json(started, room.measure(job, job.load_base(choose_device())))
        figures["before"] = json.loads(started.read_text())
    fresh, began = not (scratch / "checkpoints").exists(), time.monotonic()
    result = room.finetune(job)
    if folder is None:
        return {}
    if fresh:
        timings.note_pace("max_steps", result["steps"], time.monotonic() - began)
    gc.collect()  # the trainer and its model refer to each other; their memory must be free for the export
    final = export(job, folder)
    figures["after"] = room.measure(job, final)
    samples = {when: figures[when].pop("samples", []) for when in ("before", "after")}
    figures |= room.finish(job, final, figures, folder)
    if baseline := room.baseline(job):
        figures["baseline"] = {name: _without_items(found) for name, found in baseline.items()}
    if tested := list(_tested(job, room.score, figures["after"].get("items", {}))):
        json_lines.write_rows(folder / TESTED, tested)
    for when in ("before", "after"):
        figures[when].pop("items", None)  # means of them are in the metrics
    json_lines.write_rows(folder / "training_log.jsonl", finite(result.pop("log")), sort_keys=True)
    seen = result.pop("seen")
    if seen is not None:
        json_lines.write_rows(folder / TRAINED, ({"step": step, "rows": rows} for step, rows in enumerate(seen, 1)))
    write_json(folder / "samples.json", samples)
    return {**figures, "method": method, "adapter": adapter, "training": result}


def _tested(job: Any, score: str, items: Mapping[str, list[Any]]) -> Iterator[Row]:
    """The `score` of each test row that was measured, under the row's id, with its group where it has one.

    `items` names the measured `rows` where some were left out; otherwise they are all, or the `scored_items` drawn.
    """
    from llm_core.training.finetuning.scoring import sample_rows

    values, rows = items.get(score, []), list(zip(names(job.rows["test"]), job.rows["test"], strict=True))
    if "rows" in items:
        known = dict(rows)
        rows = [(name, known[name]) for name in items["rows"]]
    elif len(values) != len(rows):
        rows = sample_rows(rows, getattr(job.params, "scored_items", len(rows)), job.seed)
    if len(values) != len(rows):
        return  # some rows were left out of the measurement, so no value can be given to its row
    for (name, row), value in zip(rows, values, strict=True):
        group = group_of(row)
        yield {"id": name, score: value} | ({} if group is None else {GROUP: group})


def _without_items(figures: Any) -> Any:
    return {name: value for name, value in figures.items() if name != "items"} if isinstance(figures, dict) else figures


def _leave_out_unaskable(job: Any) -> int:
    """Remove test rows that leave the model no positions for an answer, where answers are generated; returns their
    number."""
    from llm_core.training.finetuning.conversation import prompt_ids

    asked = find_method(job.method).asked
    positions = getattr(read_config(job.base), "max_position_embeddings", None)
    if asked is None or job.kind != "decoder" or not positions:
        return 0
    room = positions - job.params.max_new_tokens
    fits = [len(prompt_ids(job.tokenizer, asked(job, row))) <= room for row in job.rows["test"]]
    job.rows["test"] = [row for row, fit in zip(job.rows["test"], fits, strict=True) if fit]
    return fits.count(False)


def say_other_labels(parent: Path, labels: list[str] | None) -> None:
    """Say that the head of a parent has as many labels, of other names: training goes on from their weights."""
    config = read_config(parent)
    known = [str(config.id2label[number]) for number in sorted(config.id2label)]
    architecture = (getattr(config, "architectures", None) or [""])[0]
    headed = architecture.endswith(("SequenceClassification", "TokenClassification"))
    named = known != [f"LABEL_{number}" for number in range(len(known))]
    if labels and headed and named and len(known) == len(labels) and known != labels:
        log(f"{parent}: its head was trained for {', '.join(known)}; it goes on, in this order, as {', '.join(labels)}")


def export(job: Any, folder: Path) -> Any:
    """Write the trained model (merged) and tokenizer into `folder`, and load it again.

    Values that a method adds to the config, such as the calibration, are written by its `finish`.
    """
    from llm_core.models.loading import choose_device
    from llm_core.training.finetuning import models

    room = find_method(job.method)
    if job.adapter == "full":
        model = models.load(job.trained, room.head, job.kind, room.labels(job))
    else:
        shutil.copytree(job.trained, folder / "adapter", ignore=shutil.ignore_patterns("*.bin", "checkpoint-*", "*.md"))
        model = models.merge(job.load_base(), job.trained)
    model.config.pad_token_id = job.tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None and job.tokenizer.eos_token_id is not None:
        model.generation_config.pad_token_id = job.tokenizer.pad_token_id
        model.generation_config.eos_token_id = job.tokenizer.eos_token_id
    model.save_pretrained(folder)
    job.tokenizer.save_pretrained(folder)
    del model
    gc.collect()  # one whole model in memory at a time; otherwise QLoRA's export needs more than its training
    loaded = models.load(folder, room.head, job.kind, device=choose_device())
    if not sum(file.stat().st_size for file in folder.glob("*.safetensors")):
        raise UserError(f"{folder}: the export holds no weights")
    return loaded


def _start(job: Any) -> Path:
    """The folder to train from: the model's own, or a copy with an embedding for the padding token that was missing."""
    from llm_core.training.finetuning import models

    vocabulary = getattr(read_config(job.base), "vocab_size", None)
    if vocabulary is None or len(job.tokenizer) <= vocabulary:
        return Path(job.base)
    grown: Path = job.scratch / "start"
    if not (grown / COMPLETE).exists() and job.main:
        model = models.load(job.base, GENERATION if job.kind != "encoder" else ENCODER, job.kind)
        model.resize_token_embeddings(len(job.tokenizer))
        model.config.pad_token_id = job.tokenizer.pad_token_id
        model.save_pretrained(grown)
        job.tokenizer.save_pretrained(grown)
        (grown / COMPLETE).touch()
    while not (grown / COMPLETE).exists():  # other ranks wait for rank 0
        import time

        time.sleep(0.1)
    return grown


COMPLETE = "complete"
