"""Which models were trained on a document: in pretraining steps, by finetuning rows made from it, or by descent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.lineage.training import TrainingData, chain, finetuning_documents, training_data

NONE: Mapping[str, Path] = {}


def trained_models(folder: Path, identifiers: set[str]) -> list[dict[str, Any]]:
    """For each model below `folder` that was trained on one of the documents: how, see `uses`."""
    found: list[dict[str, Any]] = []
    known: dict[Path, dict[str, Any]] = {}
    for model in sorted(path for path in folder.glob("*") if (path / "config.json").is_file()):
        found += [{"model": str(model), **use} for use in uses(model, identifiers, known=known)]
    return found


def uses(
    model: Path,
    identifiers: set[str],
    others: Mapping[str, Path] = NONE,
    verify: bool = False,
    known: dict[Path, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """How a model and its ancestors were trained on documents, nearest first; [] where none was.

    One dictionary for each model of its descent: `steps` (numbers) of `of` steps; `rows` (ids of the finetuning rows
    made from the documents) and `data`; the same with `descends_from` for an ancestor; or `unknown`, the reason why it
    cannot be determined. `others` and `verify` as for `training.chain`; `known` saves work over several models of one
    family.
    """
    known = {} if known is None else known
    try:
        family = chain(model, others, verify)
    except UserError as error:
        return [{"unknown": str(error)}]
    found = []
    for forebear in family:
        if forebear not in known:
            known[forebear] = _direct(forebear, identifiers)
        use = known[forebear]
        if use:
            found.append(use if forebear == model else {"descends_from": str(forebear), **use})
    return found


def told(use: Mapping[str, Any]) -> str:
    """A use as text."""
    rows = f"{len(use['rows'])} " if use.get("rows") else ""
    if "unknown" in use:
        return f"cannot be determined: {use['unknown']}"
    parts = [f"trained on at {len(use['steps'])} of {use['of']} steps"] if "steps" in use else []
    parts += [f"finetuned on {rows}rows made from it in {use['data']}"] if "rows" in use else []
    how = " and ".join(parts)
    return f"descends from {use['descends_from']}, {how}" if "descends_from" in use else how


def _direct(model: Path, identifiers: set[str]) -> dict[str, Any]:
    """How this model's own training used the documents; {} where it did not."""
    if not model.is_dir():
        return {"unknown": f"{model} is not here"}
    found: dict[str, Any] = {}
    try:
        record = training_data(model)
        if record:
            steps = _steps(record, identifiers)
            found |= {"steps": steps, "of": record.steps} if steps else {}
        data, documents = finetuning_documents(model)
        rows = {row for identifier in identifiers & documents.keys() for row in documents[identifier]}
        if identifiers & documents.keys():
            found |= {"rows": sorted(rows), "data": str(data)}
    except UserError as error:
        return {"unknown": str(error)}
    return found


def _steps(record: TrainingData, identifiers: set[str]) -> list[int]:
    """The steps whose batches held one of the documents; the loader is made once, whatever their number."""
    batches = record.batches()
    numbers = [number for number, name in enumerate(batches.shards.column("id")) if name in identifiers]
    return sorted({step for number in numbers for step, _ in batches.steps_of_document(number, record.steps)})
