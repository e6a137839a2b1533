"""The registry's vocabulary, on top of `tracking`: versions, `challenger`, `champion`, and the way back.

Each of the graph's models has its own registered name, so a base model is compared with base
models. A version is an evaluated model: its scores are linked to the logged model, its tags carry the
digests of model and evaluation. `register` makes it challenger and writes the gate's decision; `champion`
moves only in `promote`, and only where the decision allows it. Between the two is Dagster's blocking
check. Each champion remembers the one before it (tag `previous_champion`), so that rollback is one step.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime.digests import content_digest
from llm_core.runtime.progress import log
from llm_core.runtime.storage import read_json, write_json
from llm_core.tracking import dataset_cards, versions
from llm_core.tracking import store as tracking_store
from llm_core.tracking.lookup import links
from llm_core.tracking.runs import note

Judge = Callable[[Path | None, Path], tuple[bool, str]]
"""(folder of the champion's evaluation or None, of the challenger's) -> (passed, reason)"""
Record = dict[str, Any]


def registered_name(prefix: str, model: Path | str) -> str:
    """`language-model-base` for the folder data/models/base."""
    name = f"{prefix}-{Path(model).name}"
    if not re.fullmatch(r"[\w .-]+", name):
        raise UserError(f"{name!r}: a registered model's name has letters, digits, blanks, '.', '-' and '_' only")
    return name


def register(
    model: Path,
    evaluation: Path,
    figures: dict[str, float],
    judge: Judge,
    out: Path,
    name: str,
    headline: Sequence[str] = (),
) -> Record:
    """Register `model` with its evaluation as a new version and challenger; the record, also written to `out`.

    The record holds the gate's decision; nothing is promoted here. The same model and evaluation are registered once.
    `headline` are the lines about its scores in the version's description, which links to the dataset card of the
    model's tokens where one is kept. Raises UserError where the evaluation is of another model, or tracking is off.
    """
    about = read_json(evaluation / "about.json")
    digest = content_digest(model)
    if about["digest"] != digest:
        raise UserError(f"{evaluation}: evaluated {about['model']} as it was then ({about['digest'][:8]}), not {model} "
                        f"as it is now ({digest[:8]}); evaluate it again")  # fmt: skip
    store = versions.Registry(name)
    tags = {"model": str(model), "model_digest": digest, "evaluation_digest": content_digest(evaluation)}
    version = store.find(tags) or store.add(model, evaluation, figures, tags | _parent(model))
    store.alias("challenger", version)
    passed, reason = _decide(store, version, evaluation, judge)
    decided = f"{'passed' if passed else 'failed'}: {reason}"
    store.tag(version, "gate", decided)
    parts = [f"`{model}` ({digest[:8]}). **Gate {decided}.**", "\n".join(f"- {line}" for line in headline)]
    if tokens := dataset_cards.tokens_of_model(model):
        store.tag(version, dataset_cards.TAG, tokens)
        parts += [f"Data: {link}"] if (link := store.card(tokens)) else []
    store.describe(version, "\n\n".join([*parts, f"Runs: {', '.join(links(model_digest=digest))}"]))
    note({"mlflow_model": name, "mlflow_version": version})
    log(f"registry: {name} version {version} is challenger; gate {'passed' if passed else 'failed'}: {reason}")
    record: Record = {"model": str(model), "digest": digest, "name": name, "version": version}
    record |= {"champion_before": store.version("champion"), "passed": passed, "reason": reason}
    write_json(out, record)
    return record


def _parent(model: Path) -> dict[str, str]:
    """Tags that say what a finetuned model was made from: digest, and `NAME/VERSION` where that was registered."""
    file = model / "metrics.json"
    parent = read_json(file).get("parent") if file.is_file() else None
    if not parent:
        return {}
    told = {"parent_model": parent["path"], "parent_digest": parent["digest"]}
    for name in versions.registered_models():
        if version := versions.Registry(name).find({"model_digest": parent["digest"]}):
            return told | {"parent_version": f"{name}/{version}"}
    return told


def promote_record(record: Path, out: Path) -> bool:
    """Make the version that `register` wrote to `record` champion if it passed; whether it is, also written to `out`.

    A refusal is not an error: the champion remains, and the line says why.
    """
    told = read_json(record)
    passed = bool(told["passed"])
    if passed:
        _crown(versions.Registry(told["name"]), told["version"])
    line = "is champion" if passed else "stays challenger"
    log(f"registry: {told['name']} version {told['version']} {line}: {told['reason']}")
    write_json(out, {key: told[key] for key in ("name", "version", "digest", "reason")} | {"champion": passed})
    return passed


def promote(version: str, judge: Judge, name: str) -> tuple[bool, str]:
    """Judge a registered version again (for example after the gate's params changed); (passed, reason)."""
    store = versions.Registry(name)
    passed, reason = _decide(store, version, store.evaluation(version), judge)
    if passed:
        _crown(store, version)
    return passed, reason


def rollback(name: str) -> tuple[str, str]:
    """Make the champion before this one champion again; (from version, to version). UserError where there is none."""
    store = versions.Registry(name)
    champion = store.version("champion")
    if champion is None:
        raise UserError(f"{name}: there is no champion to roll back from")
    previous = store.tags(champion).get("previous_champion", "")
    if not previous:
        raise UserError(f"{name}: version {champion} is the first champion, there is none to go back to")
    store.alias("champion", previous)
    store.tag(champion, "rolled_back_to", previous)
    return champion, previous


def previous_champion(name: str, digest: str) -> tuple[str, Path] | None:
    """(version, folder of its evaluation) with which a model of this digest is to be compared; None without one.

    That is the champion or, if the champion is this very model, the champion before it: the answer is the
    same before and after a promotion. None also where tracking is off.
    """
    if not tracking_store.has_store():
        return None
    store = versions.Registry(name)
    version = store.version("champion")
    while version and store.tags(version)["model_digest"] == digest:
        version = store.tags(version).get("previous_champion") or None
    return (version, store.evaluation(version)) if version else None


def names() -> list[str]:
    """Names of all registered models."""
    return versions.registered_models()


def listing(name: str) -> list[dict[str, Any]]:
    """Every version, newest first: version, model, aliases, gate."""
    return versions.Registry(name).listing()


def _decide(store: versions.Registry, version: str, evaluation: Path, judge: Judge) -> tuple[bool, str]:
    champion = store.version("champion")
    if champion == version:
        return True, "it is the champion already"
    if champion and store.tags(champion)["model_digest"] == store.tags(version)["model_digest"]:
        return True, f"it is the champion itself (version {champion}), evaluated again"
    return judge(store.evaluation(champion) if champion else None, evaluation)


def _crown(store: versions.Registry, version: str) -> None:
    champion = store.version("champion")
    if champion == version:
        return
    before = champion or ""
    if champion and store.tags(champion)["model_digest"] == store.tags(version)["model_digest"]:
        before = store.tags(champion).get("previous_champion", "")  # the same model: what was before it stays before it
    store.tag(version, "previous_champion", before)
    store.alias("champion", version)
