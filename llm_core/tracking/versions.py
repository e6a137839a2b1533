"""Versions of the registered models in the tracking store, with what a decision needs: aliases, tags, evaluations."""

import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.tracking import dataset_cards
from llm_core.tracking.lookup import logged_model
from llm_core.tracking.runs import client, run
from llm_core.tracking.store import Names, enabled, has_store

EVALUATION_RUN = "evaluation_run"  # tag of a version: id of the run that keeps its evaluation
ABOUT = (
    "Versions of one model of the graph, each evaluated. The alias `challenger` is the newest, `champion` the best "
    "that passed its gate. A version's tags have the digests of model and evaluation, and the gate's decision."
)


def registered_models() -> list[str]:
    """Names of the registered models; [] where there is no store yet, or tracking is off."""
    if not has_store():
        return []
    return sorted(str(model.name) for model in client().search_registered_models())


def keep_card(card: Path) -> None:
    """Keep a folder that `llm-core card` wrote with a run of its own, and link to it from what its tokens have made.

    Nothing where tracking is off, or the card speaks of no tokens.
    """
    tokens = dataset_cards.tokens_of_card(card)
    if not enabled() or not tokens:
        return
    with run("card", {}, kind="registry") as current:
        for path, digest in tokens.items():
            current.dataset(path, dataset_cards.CONTEXT, digest)
        current.artifact(card, dataset_cards.FOLDER)
        current.describe(f"The dataset card: artifact `{dataset_cards.FOLDER}/{dataset_cards.PAGE}`.")
    link = dataset_cards.card_link(current.experiment_id, current.run_id)
    for digest in tokens.values():
        dataset_cards.link_earlier(client(), link, digest)


class Registry:
    """Versions of one registered model in the tracking store. Raises UserError where tracking is off."""

    def __init__(self, name: str) -> None:
        if not enabled():
            raise UserError("LLM_CORE_TRACKING=off: the registry lives in the tracking store; switch tracking on")
        self.name, self._client = name, client()

    def find(self, tags: Mapping[str, str]) -> str | None:
        """The newest version with all of these tags."""
        return next((str(v.version) for v in self._versions() if tags.items() <= v.tags.items()), None)

    def add(self, model: Path, evaluation: Path, metrics: Mapping[str, float], tags: Mapping[str, str]) -> str:
        """Register `model`, link `metrics`, store `evaluation`; returns the new version.

        A model that its training has logged is not logged again: one version has one logged model.
        """
        import mlflow

        digest = tags["model_digest"]
        with run("register", {}, tags, kind="registry", about=digest[:8]) as current:
            current.dataset(evaluation, "evaluation")
            current.artifact(evaluation, "evaluation")
            known = logged_model(digest)
            logged = known[0] if known else current.model(model, digest)
            name = Names()
            for key, value in metrics.items():
                if isinstance(value, numbers.Real) and math.isfinite(value):
                    self._client.log_metric(current.run_id, name(key), float(value), model_id=logged)
        noted = {**tags, EVALUATION_RUN: current.run_id}
        found = mlflow.register_model(f"models:/{logged}", self.name, tags=noted)
        return str(found.version)

    def card(self, tokens: str) -> str:
        """The newest dataset card of tokens with this digest, as a Markdown link; "" where none is kept."""
        return dataset_cards.newest_card(self._client, tokens)

    def describe(self, version: str, text: str) -> None:
        """Set the description of a version, as Markdown, and that of the model where it has none."""
        self._client.update_model_version(self.name, version, text)
        if not self._client.get_registered_model(self.name).description:
            self._client.update_registered_model(self.name, ABOUT)

    def evaluation(self, version: str) -> Path:
        """A local copy of a version's evaluation. UserError where the version or the copy is gone."""
        import mlflow

        entry = self._entry(version)
        try:
            folder = mlflow.artifacts.download_artifacts(run_id=self._evaluation_run(entry), artifact_path="evaluation")
        except (mlflow.exceptions.MlflowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{self.name} version {version}: its evaluation is not in the store ({reason})") from None
        return Path(folder)

    def files(self, version: str, names: tuple[str, ...], into: Path) -> Path:
        """Bring files of a version's model folder, those that it has of `names`, below `into`; their folder."""
        import mlflow

        model, place = f"models:/{self.name}/{version}", into
        for folder in mlflow.artifacts.list_artifacts(artifact_uri=f"{model}/artifacts"):
            for file in mlflow.artifacts.list_artifacts(artifact_uri=f"{model}/{folder.path}"):
                if Path(file.path).name in names:
                    brought = mlflow.artifacts.download_artifacts(
                        artifact_uri=f"{model}/{file.path}", dst_path=str(into)
                    )
                    place = Path(brought).parent
        return place

    def version(self, alias: str) -> str | None:
        """The version that an alias points to; None where it points to none."""
        found = [v for v in self._versions() if alias in v.aliases]
        return str(found[0].version) if found else None

    def alias(self, alias: str, version: str) -> None:
        """Point an alias to a version."""
        self._entry(version)
        self._client.set_registered_model_alias(self.name, alias, version)

    def tag(self, version: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        self._client.set_model_version_tag(self.name, version, key, value[:4000])

    def tags(self, version: str) -> dict[str, str]:
        """Tags of a version."""
        return dict(self._entry(version).tags)

    def listing(self) -> list[dict[str, Any]]:
        """Every version, newest first: version, model, aliases, gate."""
        return [
            {
                "version": str(v.version),
                "model": v.tags.get("model", ""),
                "aliases": ", ".join(sorted(v.aliases)),
                "gate": v.tags.get("gate", ""),
            }
            for v in self._versions()
        ]

    def _evaluation_run(self, entry: Any) -> str:
        """Id of the run that keeps a version's evaluation."""
        return str(entry.tags.get(EVALUATION_RUN, entry.run_id))

    def _entry(self, version: str) -> Any:
        found = [v for v in self._versions() if str(v.version) == version]
        if not found:
            raise UserError(f"{self.name}: there is no version {version}; `llm-core promote` lists them")
        return found[0]

    def _versions(self) -> list[Any]:
        """All versions with their aliases, newest first (a search alone leaves the aliases out)."""
        found = self._client.search_model_versions(f"name = '{self.name}'")
        whole = [self._client.get_model_version(self.name, v.version) for v in found]
        return sorted(whole, key=lambda v: -int(v.version))
