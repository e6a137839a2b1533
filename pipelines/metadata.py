"""What Dagster shows of a stage: figures, tables, pictures and schemas from its output files.

Everything is read from files that the stage wrote; the stage does not know Dagster. Long
lists are cut, because the event log is a database and not a file store.
"""

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg

from llm_core.formats.names import figure, reason
from llm_core.formats.pages import cell_text
from llm_core.report.metrics_names import below, of_data
from llm_core.runtime import json_lines
from llm_core.tracking.experiments import run_link
from llm_core.training.pretraining.run_log import spike_rows
from pipelines.dvc_project import DvcProject
from pipelines.graph import Stage
from pipelines.headlines import headlines

MAX_FIGURES = 60
MAX_ROWS = 40
MAX_EXCERPT = 160  # characters shown of a sampled drop
MAX_PICTURE_BYTES = 300_000
SKIPPED = "skipped by DVC"  # name of a metadata entry: nothing had changed, so the stage did not run
MLFLOW_UI = "http://127.0.0.1:5000"


def stage_metadata(project: DvcProject, stage: Stage) -> dict[str, Any]:
    """Metadata of the present content of a stage's outputs: its headline figures, what to open, and folded tables."""
    metrics = read_metrics(project.root, stage)
    metadata: dict[str, Any] = {}
    for values in metrics.values():
        metadata |= headlines(stage.group, values)
    for page in _files(project.root, stage, "*.html"):
        metadata[page.stem] = dg.MetadataValue.path(str(page))
    for picture in _pictures(project.root, stage):
        data = base64.b64encode(picture.read_bytes()).decode()
        metadata[picture.stem] = dg.MetadataValue.md(f"![{picture.stem}](data:image/png;base64,{data})")
    for log in _files(project.root, stage, "training_log.jsonl"):
        chart = loss_chart(log)
        if chart:
            metadata["loss curve"] = dg.MetadataValue.md(f"![loss](data:image/png;base64,{chart})")
        if steps := rate_chart(log):
            metadata["learning rate and gradient norm"] = dg.MetadataValue.md(
                f"![learning rate and gradient norm](data:image/png;base64,{steps})"
            )
        if spikes := spike_rows(log, log.parent.relative_to(project.root)):
            rows = [(*row.values(),) for row in spikes]
            metadata["unusual steps"] = dg.MetadataValue.md(table(tuple(spikes[0]), rows))
    if metrics:
        metadata["all figures"] = dg.MetadataValue.md(all_figures(metrics))
    drops = [sampled_drops(file) for file in _files(project.root, stage, "drops.jsonl")]
    if any(drops):
        metadata["samples of dropped documents"] = dg.MetadataValue.md("\n\n".join(filter(None, drops)))
    metadata |= _outputs(project, stage.name)
    metadata |= _documents(project, stage)
    return metadata


def all_figures(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Every figure of a stage's metrics.json files as Markdown, in the order of their names: single ones in one table,
    then the tables."""
    single, tables = [], []
    for name, values in sorted(metrics.items()):
        for key, value in sorted(figures(values, prefix=name).items()):
            if isinstance(value, dg.MarkdownMetadataValue):
                tables.append(f"**{cell_text(key)}**\n\n{value.value}")
            else:
                single.append((key, value))
    return "\n\n".join([table(("figure", "value"), single, MAX_FIGURES), *tables])


def read_metrics(root: Path, stage: Stage) -> dict[str, dict[str, Any]]:
    """Contents of the stage's metrics.json files, by a short name ("" where there is only one)."""
    found = {}
    for file in _files(root, stage, "metrics.json"):
        with suppress(ValueError):
            values = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(values, dict):
                found[file] = values
    if len(found) == 1:
        return {"": next(iter(found.values()))}
    return {file.parent.name: values for file, values in found.items()}


def figures(values: Mapping[str, Any], prefix: str = "", named: Callable[[str], str] | None = None) -> dict[str, Any]:
    """Numbers and words unchanged, by their names for people; a mapping of numbers (drops by reason, …), with words or
    without, as a table.

    `prefix` is said before each name. `named` names the keys where they are the data's (sources, reasons) and not
    figures.
    """
    metadata: dict[str, Any] = {}
    for key, value in values.items():
        shown = (named or figure)(key)
        name = f"{prefix}, {shown}" if prefix else shown
        inner = below(key, values.get("method", "")) if named is None else of_data if named is of_data else None
        if len(metadata) >= MAX_FIGURES:
            break
        if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 200):
            metadata[name] = value
        elif isinstance(value, dict) and value:
            numbers = {item: number for item, number in value.items() if isinstance(number, int | float)}
            texts = [
                (item, figure(text) if item == "metric" else text)
                for item, text in value.items()
                if isinstance(text, str)
            ]
            if numbers and len(numbers) + len(texts) == len(value):
                pairs = [*sorted(numbers.items(), key=lambda i: -i[1]), *texts]
                rows = [((inner or figure)(item), found) for item, found in pairs]
                metadata[name] = dg.MetadataValue.md(table(("", "value"), rows))
            elif all(isinstance(item, dict) for item in value.values()) and _narrow(value):
                columns = sorted({column for row in value.values() for column in row})
                heads = map(of_data if inner is of_data else figure, columns)
                cells = [
                    ((inner or figure)(item), *(row.get(column, "") for column in columns))
                    for item, row in value.items()
                ]
                metadata[name] = dg.MetadataValue.md(table(("", *heads), cells))
            else:
                metadata |= figures(value, prefix=name, named=inner)
    return metadata


def table(columns: tuple[str, ...], rows: list[tuple[Any, ...]], most: int = MAX_ROWS) -> str:
    """Rows as a markdown table, cut after `most`."""
    lines = [" | ".join(map(cell_text, columns)), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_cell(value) for value in row) for row in rows[:most]]
    if len(rows) > most:
        lines.append(f"… {len(rows) - most} more")
    return "\n".join(f"| {line} |" for line in lines)


def sampled_drops(file: Path) -> str:
    """The sampled drops of a cleaning stage as Markdown, a table for each reason."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for drop in json_lines.load_rows(file):
        excerpt = " ".join(drop["excerpt"].split())[:MAX_EXCERPT]
        score = "" if drop["score"] is None else drop["score"]
        rows.setdefault(drop["reason"], []).append((score, drop["characters"], excerpt, drop["url"] or ""))
    columns = ("score", "characters", "begins", "url")
    return "\n\n".join(
        f"**{cell_text(reason(key))}**\n\n{table(columns, found)}" for key, found in sorted(rows.items())
    )


def loss_chart(log: Path) -> str | None:
    """The losses of a training log (JSON lines with `step` and `…loss…` fields) as base64 PNG."""
    return _chart(log, lambda key: "loss" in key or "bits_per_byte" in key, 1)


def rate_chart(log: Path) -> str | None:
    """Learning rate and gradient norm of a training log as base64 PNG, one below the other."""
    return _chart(log, lambda key: key in ("learning_rate", "gradient_norm"), 2)


def _chart(log: Path, shown: Callable[[str], bool], panels: int) -> str | None:
    """The fields of a training log that are `shown`, by step: all in one panel, or one in each."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in json_lines.load_rows(log):
        for key, value in row.items():
            if shown(key) and isinstance(value, int | float) and "step" in row:
                curves.setdefault(key, []).append((row["step"], value))
    if not curves:
        return None
    import io

    from matplotlib.figure import Figure

    panels = min(panels, len(curves))
    figure = Figure(figsize=(6, 3 + panels - 1), layout="constrained")
    axes = figure.subplots(panels, squeeze=False)[:, 0]
    for number, (name, points) in enumerate(curves.items()):
        axes[number % panels].plot(*zip(*points, strict=True), label=name, linewidth=1)
    axes[-1].set_xlabel("step")
    for each in axes:
        each.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return base64.b64encode(buffer.getvalue()).decode()


def mlflow_metadata(reported: Mapping[str, Any], ui: str = MLFLOW_UI) -> dict[str, Any]:
    """Links to the MLflow run, to a page that it keeps, and to the registered version that a stage reported."""
    pages = {}
    if run := reported.get("mlflow_run_id"):
        place = str(reported.get("mlflow_experiment_id", 0))
        pages["MLflow run"] = run_link(place, run)
        if page := reported.get("mlflow_page"):
            pages[Path(page).stem] = run_link(place, run, f"/artifacts/{quote(page)}")
    if name := reported.get("mlflow_model"):
        pages["model version"] = f"#/models/{quote(name)}/versions/{reported['mlflow_version']}"
    return {label: dg.MetadataValue.url(f"{ui.rstrip('/')}/{page}") for label, page in pages.items()}


def _outputs(project: DvcProject, name: str) -> dict[str, Any]:
    """Size of a stage's outputs, and a table of them as dvc.lock has them."""
    outs = project.lock.get(name, {}).get("outs", [])
    if not outs:
        return {}
    rows = [(out["path"], out.get("size", 0), out.get("nfiles", 1), out.get("md5", "")) for out in outs]
    return {
        "size of the outputs, MB": round(sum(size for _, size, _, _ in rows) / 1e6, 6),
        "outputs in dvc.lock": dg.MetadataValue.md(table(("output", "bytes", "files", "md5"), rows)),
    }


def _documents(project: DvcProject, stage: Stage) -> dict[str, Any]:
    """Row count and column schema of the Parquet shards that the stage has written; of documents the lineage too."""
    from llm_core.formats.parquet import read_footer
    from llm_core.formats.schema import COLUMNS, MEANINGS

    shards = _shards(project.root, stage)
    if not shards:
        return {}
    footers = [read_footer(shard) for shard in shards]
    schema = footers[0].schema.to_arrow_schema()
    of_documents = set(schema.names) == COLUMNS
    meanings = MEANINGS if of_documents else {}
    columns = [dg.TableColumn(column.name, str(column.type), meanings.get(column.name)) for column in schema]
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(footer.num_rows for footer in footers),
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }
    parents = [project.stages[parent] for parent in project.parents[stage.name]] if of_documents else []
    read = [
        dg.AssetKey(parent.key)
        for parent in parents
        if any(set(read_footer(shard).schema.names) == COLUMNS for shard in _shards(project.root, parent)[:1])
    ]
    if read:
        deps = {name: [dg.TableColumnDep(asset_key=key, column_name=name) for key in read] for name in schema.names}
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(deps_by_column=deps)
    return metadata


def _shards(root: Path, stage: Stage) -> list[Path]:
    """The Parquet shards that a stage has written, without its ledger."""
    from llm_core.runtime.storage import glob_files

    folders = [root / out.path for out in stage.outs if out.kind == "outs" and Path(out.path).name != "ledger"]
    found = (shard for folder in folders for shard in glob_files(folder, "**/*.parquet"))
    return [shard for shard in found if "ledger" not in shard.parts]


def _files(root: Path, stage: Stage, pattern: str) -> list[Path]:
    found: dict[Path, None] = {}
    for out in stage.outs:
        path = root / out.path
        if path.is_dir():
            found |= dict.fromkeys(sorted(path.glob(pattern)))
        elif path.is_file() and path.match(pattern):
            found[path] = None
    return list(found)


def _pictures(root: Path, stage: Stage) -> list[Path]:
    return [file for file in _files(root, stage, "*.png") if file.stat().st_size <= MAX_PICTURE_BYTES][:4]


def _narrow(rows: dict[str, dict[str, Any]]) -> bool:
    cells = [value for row in rows.values() for value in row.values()]
    return (
        all(isinstance(value, int | float | str) for value in cells) and len({k for r in rows.values() for k in r}) <= 8
    )


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else cell_text(str(value)).replace("\n", " ")
