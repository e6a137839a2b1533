"""An evaluation as a run in MLflow: params that were read, figures, data, templates by which the model was asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_core.models import loading
from llm_core.params import Params
from llm_core.runtime.digests import content_digest
from llm_core.runtime.nested import flatten
from llm_core.runtime.storage import read_json
from llm_core.tracking import prompts, runs

READ = ("tasks", "limit", "num_fewshot", "fewshot_seeds", "batch_size", "dtype", "add_bos_token", "chat", "prompts")
ANSWERED = ("answers", "answer_tokens")
"""params of `evaluation` that are read, beside language_modelling; the run has these alone"""


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of metrics on one level, as MLflow and Dagster show them: `benchmarks/arc_easy/acc`."""
    flat = flatten(metrics, separator="/")
    return {key: value for key, value in flat.items() if isinstance(value, int | float)}


def digest(model: Path) -> str:
    """The digest of a model's folder; the name of a model on the hub."""
    return content_digest(model) if Path(model).exists() else str(model)


def track(
    model: Path,
    out: Path,
    params: Params,
    metrics: Mapping[str, Any],
    lines: Sequence[str],
    datasets: Mapping[str, str],
    started: float,
) -> None:
    """Record the evaluation in the folder `out` of a model. `datasets`: path and context of what it was scored on."""
    settings: dict[str, Any] = {
        f"evaluation.{name}": getattr(params.evaluation, name)
        for name in (*READ, *(ANSWERED if "answers" in metrics else ()))
    }
    settings |= flatten(params.evaluation.language_modelling, "evaluation.language_modelling.")
    tags = {"model": str(model), "model_digest": digest(model), "evaluation_digest": content_digest(out)}
    about = tags["model_digest"][:8]
    with runs.run("evaluate", settings, tags, kind="evaluation", about=about, started=started) as run:
        run.metrics(figures(metrics))
        run.describe(f"Evaluation of `{model}`.\n\n" + "\n".join(f"- {line}" for line in lines))
        for path, context in datasets.items():
            if Path(path).exists():
                run.dataset(path, context)
        run.artifact(out / "results.jsonl")
        run.table(read_json(out / "samples.json"), "samples.html")
        if run.run_id:
            prompts.link_run(run, _templates(model, metrics, params, datasets))


def _templates(model: Path, metrics: Mapping[str, Any], params: Params, datasets: Mapping[str, str]) -> dict[str, str]:
    """Those of own benchmarks and of their judges; the chat template where the model was asked in it."""
    found: dict[str, str] = {}
    scored = metrics.get("benchmarks", {})
    for file in (Path(path) / "manifest.json" for path in datasets):
        for name, entry in (read_json(file) if scored and file.is_file() else {}).items():
            asked = (entry.get("definition") or {}).get("doc_to_text")
            if name in scored and asked:
                found[f"benchmark-{name}"] = asked
            if name in scored and "judge" in entry:
                found[f"judge-{name}"] = entry["judge"]["prompt"]
    if "answers" in metrics or (scored and params.evaluation.chat):
        found |= prompts.of_tokenizer(loading.load_tokenizer(model))
    return found
