"""The report's last sections: time, energy and money; versions and hashes; licences; known limits."""

import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from llm_core.formats.names import benchmark
from llm_core.formats.pages import Block, Row
from llm_core.params import Params
from llm_core.params.report import Report
from llm_core.runtime import timings
from llm_core.runtime.storage import read_json

PACKAGES = ("torch", "transformers", "deepspeed", "tokenizers", "datasets", "lm-eval", "dvc", "dagster", "mlflow")


def costs(params: Params) -> Iterator[Block]:
    """Time of each stage, folded, and the total."""
    rows = timings.last()
    if not rows:
        return
    yield Block("text", " ".join(_sums(rows, params.report)))
    table = [
        {
            "stage": row.get("stage") or row["verb"],
            "output": row["out"],
            "seconds": round(row["seconds"], 1),
            "CPU seconds": round(row["cpu_seconds"], 1),
            "peak MB": round(row["peak_bytes"] / 1e6),
        }
        for row in sorted(rows, key=lambda row: -row["seconds"])
    ]
    yield Block("folded", table, f"Times of the {len(rows)} stages, the longest first")


def energy_kwh(rows: list[Row], report: Report) -> float:
    """Energy estimate: the machine's watts by wall time, or watts per core by CPU time; 0 if neither is set."""
    if report.watts:
        return sum(row["seconds"] for row in rows) / 3600 * report.watts / 1000
    return float(sum(row["cpu_seconds"] for row in rows) / 3600 * report.watts_per_core / 1000)


def _sums(rows: list[Row], report: Report) -> Iterator[str]:
    hours = sum(row["seconds"] for row in rows) / 3600
    cores = sum(row["cpu_seconds"] for row in rows) / 3600
    yield f"{hours * 60:.1f} minutes by the clock and {cores * 60:.1f} of CPU time, each stage's latest run."
    energy = energy_kwh(rows, report)
    if energy:
        basis = (
            f"{report.watts:g} W by the clock" if report.watts else f"{report.watts_per_core:g} W a busy core, assumed"
        )
        yield f"About {energy:.2g} kWh ({basis}; an estimate, not measured)."
    if report.price_per_hour:
        price = report.price_per_hour
        yield f"{hours * price:.2f} {report.currency} at {price:g} {report.currency} an hour by the clock."
    else:
        yield "No price of an hour is set."


def versions(data: Path) -> Iterator[Block]:
    """Packages, and the outputs' hashes of dvc.lock, folded."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    yield Block("text", ", ".join(found) + ".")
    lock = data.parent / "dvc.lock"
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.is_file() else {}
    rows = [
        {"stage": stage, "output": out["path"], "hash": out.get("md5", ""), "bytes": out.get("size")}
        for stage, entry in stages.items()
        for out in entry.get("outs", [])
        if not out["path"].endswith("metrics.json") and stage != "report"
    ]
    if rows:
        yield Block("folded", rows, f"Hashes of the {len(rows)} outputs, as in dvc.lock")


def licences(data: Path, params: Params) -> Iterator[Block]:
    """One row for each use, licence and origin."""
    entries = [
        ("training text", source.license or "each document's own", source.kind, name)
        for name, source in params.sources.items()
    ]
    manifest = data / "benchmarks" / "manifest.json"
    for name, entry in (read_json(manifest) if manifest.is_file() else {}).items():
        entries.append(("benchmark", entry["license"], entry["source"].partition("!")[0], benchmark(name)))
    groups: dict[tuple[str, str, str], list[str]] = {}
    for use, licence, origin, name in entries:
        groups.setdefault((use, licence, origin), []).append(name)
    if groups:
        yield Block(
            "folded",
            [
                {"names": ", ".join(names), "use": use, "licence": licence, "origin": origin}
                for (use, licence, origin), names in groups.items()
            ],
            f"Licences of the {len(entries)} sources and benchmarks",
        )


def limits(data: Path, evaluations: Mapping[str, Any], params: Params) -> Iterator[str]:
    """Limits of what the report shows."""
    for stage in ("split", "tokens", "models/base", "evaluation"):
        if not (data / stage).exists():
            yield f"{data / stage} is missing, so its sections are left out."
    yield from _left_behind(data, params)
    if params.evaluation.limit:
        yield f"Benchmarks were scored on at most {params.evaluation.limit} items each."
    if evaluations:
        yield "Prompts are lm-eval-harness's own; items are the validation or test sets in the pinned package."
        yield "Intervals cover the choice of items, not the seed of training (llm-core compare takes several seeds)."
        yield "Held-out texts come from the sources of the training: bits per byte say nothing about other texts."
    yield "The model inherits the views and the gaps of its texts; by default they are old, formal English."


def _left_behind(data: Path, params: Params) -> Iterator[str]:
    """Folders of cleaned sources and of models that params do not name, as after a removal or a new name."""
    runs = params.finetuning
    models = {"base", *params.evaluation.models, *params.open_models, *runs.runs, *runs.on_demand, *runs.retrieval}
    known = {"clean": set(params.sources), "models": models, "evaluation": models}
    for stage, names in known.items():
        unknown = [path for path in sorted((data / stage).glob("*")) if path.is_dir() and path.name not in names]
        if names and unknown:
            found = ", ".join(map(str, unknown))
            what = "left out above" if stage == "clean" else "shown above all the same"
            yield f"params.yaml does not name {found}, {what}; delete what a removal or a new name left behind."
