"""Items of a benchmark from the Hugging Face hub (`HF_ENDPOINT`), where lm-eval's definition says that they lie.

Rows are written as the hub gives them, so that lm-eval's definition reads them as it would from the hub itself. The
revision is the commit that the params pin, else the newest one; the manifest records it either way. Downloads are
kept in `HF_HOME`.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from llm_core.errors import UserError
from llm_core.evaluation.catalog import catalog
from llm_core.evaluation.definitions import Definition, definitions
from llm_core.runtime.progress import log

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
Item = dict[str, Any]


class HubItems(NamedTuple):
    """What the hub holds of a benchmark."""

    items: list[Item]
    fewshot: list[Item]
    """solved examples, where they come from another split"""
    license: str
    source: str


def hub_items(name: str, revisions: dict[str, str]) -> HubItems:
    """The items of a task or group, each with an `id` first; those of a group name their task as `subtask`.

    A benchmark of the catalog is read as from the package: the same split, ids and examples, so the same prompts.
    Raises ConnectionError where no hub answers, UserError where it has no such data set.
    """
    known = catalog().get(name)
    items: list[Item] = []
    examples: list[Item] = []
    licenses: dict[str, None] = {}
    sources: dict[str, None] = {}
    for task, definition in definitions(name).items():
        commit, license = _commit(definition.dataset, revisions)
        licenses[license] = sources[f"hub: {definition.dataset}@{commit}"] = None
        if known and known.fewshot:  # MMLU: a task a subject
            subject = task.removeprefix(f"{name}_")
            for split, rows in ((known.split, items), ("dev", examples)):
                found = _rows(definition, split, commit)
                rows += identified([row | {"subject": subject} for row in found], known.key, f"{subject}/{split}/")
            continue
        extra, prefix = ({}, "") if task == name else ({"subtask": task}, f"{task}/")
        rows = _rows(definition, known.split if known else definition.split, commit)
        items += [row | extra for row in identified(rows, known.key if known else "id", prefix)]
        if definition.fewshot and not known:
            rows = _rows(definition, definition.fewshot, commit)
            examples += [row | extra for row in identified(rows, "id", f"fewshot/{prefix}")]
    return HubItems(items, examples, ", ".join(licenses), ", ".join(sources))


def identified(rows: Sequence[Item], key: str | None, prefix: str = "") -> list[Item]:
    """The rows with an `id` first: the field `key` where every row has it, else the position."""
    if not all(key in row for row in rows):
        key = None
    seen: set[str] = set()
    found = []
    for position, row in enumerate(rows):
        rest = {name: value for name, value in row.items() if name not in ("id", key)}
        identifier = f"{prefix}{row[key] if key else position}"
        if identifier in seen:  # HellaSwag's `ind` names the clip, which several items share
            identifier = f"{identifier}.{position}"
        seen.add(identifier)
        found.append({"id": identifier, **rest})
    return found


def _commit(dataset: str, revisions: dict[str, str]) -> tuple[str, str]:
    """(commit, licence) of a data set."""
    import huggingface_hub

    about = _asked(dataset, lambda: huggingface_hub.HfApi().dataset_info(dataset, revision=revisions.get(dataset)))
    if dataset not in revisions:
        log(f"{dataset}: not pinned; evaluation.benchmarks.revisions: {{{dataset}: {about.sha}}} would")
    license = getattr(about.card_data, "license", None) if about.card_data else None
    return about.sha, str(license or "not stated")


def _rows(definition: Definition, split: str, commit: str) -> list[Item]:
    import datasets

    datasets.disable_progress_bars()
    found = _asked(
        definition.dataset,
        lambda: datasets.load_dataset(
            definition.dataset, definition.config, split=split, revision=commit, **definition.kwargs
        ),
    )
    return list(found)


def _asked(dataset: str, ask: Any) -> Any:
    """`ask()`, with its failures distinguished: no hub (ConnectionError), or no such data set there (UserError)."""
    import datasets
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return ask()
    except HfHubHTTPError as error:
        told = " ".join(str(error).split())[:200]
        if error.response is None or error.response.status_code >= 429:
            raise ConnectionError(told) from None
        raise UserError(f"{dataset}: {told}") from None
    except (httpx2.HTTPError, OSError, TimeoutError) as error:
        if isinstance(error, FileNotFoundError) and not isinstance(error, ConnectionError):
            raise UserError(f"{dataset}: {' '.join(str(error).split())[:200]}") from None
        raise ConnectionError(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}") from None
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{dataset}: {' '.join(str(error).split())[:200]}") from None
