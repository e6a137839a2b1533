"""The registry's vocabulary, on top of `tracking`: versions, `challenger`, `champion`, and the way back.

A version is an evaluated model: its scores are linked to the logged model, its tags carry the
digests of model and evaluation. `challenger` is the newest; `champion` moves only through the
gate. Each champion remembers the one before it (tag `previous_champion`), so that rollback is one step.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_core import tracking
from llm_core.digests import content_digest
from llm_core.errors import UserError
from llm_core.progress import log
from llm_core.storage import read_json, write_json

NAME = "language-model"
Judge = Callable[[Path | None, Path], tuple[bool, str]]
"""(folder of the champion's evaluation or None, of the challenger's) -> (passed, reason)"""


def register(
    model: Path, evaluation: Path, figures: dict[str, float], judge: Judge, out: Path, name: str = NAME
) -> bool:
    """Register `model` with its evaluation as a new version and challenger; champion if `judge` lets it.

    `out` is a JSON file that says what was decided. The same model and evaluation are registered once.
    Raises UserError where the evaluation is of another model, or tracking is off.
    """
    about = read_json(evaluation / "about.json")
    digest = content_digest(model)
    if about["digest"] != digest:
        raise UserError(f"{evaluation}: evaluated {about['model']} as it was then ({about['digest'][:8]}), not {model} "
                        f"as it is now ({digest[:8]}); evaluate it again")  # fmt: skip
    store = tracking.Registry(name)
    tags = {"model": str(model), "model_digest": digest, "evaluation_digest": content_digest(evaluation)}
    version = store.find(tags) or store.add(model, evaluation, figures, tags)
    store.alias("challenger", version)
    champion = store.version("champion")
    if champion == version:
        passed, reason = True, "it is the champion already"
    else:
        passed, reason = judge(store.evaluation(champion) if champion else None, evaluation)
    store.tag(version, "gate", f"{'passed' if passed else 'failed'}: {reason}")
    if passed and champion != version:
        store.tag(version, "previous_champion", champion or "")
        store.alias("champion", version)
    log(f"registry: {name} version {version}: {'champion' if passed else 'not champion'}, {reason}")
    record = {"model": str(model), "digest": digest, "name": name, "version": version, "champion": passed}
    write_json(out, record | {"reason": reason})
    return passed


def promote(version: str, judge: Judge, name: str = NAME) -> tuple[bool, str]:
    """Put a registered version to the gate again (after its params changed, say); (passed, reason)."""
    store = tracking.Registry(name)
    challenger = store.evaluation(version)
    champion = store.version("champion")
    if champion == version:
        return True, "it is the champion already"
    passed, reason = judge(store.evaluation(champion) if champion else None, challenger)
    if passed:
        store.tag(version, "previous_champion", champion or "")
        store.alias("champion", version)
    return passed, reason


def rollback(name: str = NAME) -> tuple[str, str]:
    """Make the champion before this one champion again; (from version, to version). UserError where there is none."""
    store = tracking.Registry(name)
    champion = store.version("champion")
    if champion is None:
        raise UserError(f"{name}: there is no champion to roll back from")
    previous = store.tags(champion).get("previous_champion", "")
    if not previous:
        raise UserError(f"{name}: version {champion} is the first champion, there is none to go back to")
    store.alias("champion", previous)
    store.tag(champion, "rolled_back_to", previous)
    return champion, previous


def listing(name: str = NAME) -> list[dict[str, Any]]:
    """Every version, newest first: version, model, aliases, gate."""
    return tracking.Registry(name).listing()
