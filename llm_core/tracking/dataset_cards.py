"""The dataset card in the tracking store, one click from the runs and versions that name its data by digest.

`register` keeps the card among its run's artifacts. That run names the data of which the card speaks, and the model
made from it, as datasets with the context CONTEXT; so a digest leads to a card, also in a search of MLflow. A run that
reads one of them has a link in its description: earlier runs from when a card is kept, later ones from their end on.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_core.runtime.storage import read_json
from llm_core.tracking.experiments import NOTE, all_experiments, run_link

CONTEXT = "dataset card"
FOLDER, PAGE, DIGESTS = "card", "dataset.html", "digests.json"
NEWEST = 100
"""runs of an experiment that get the link when a card is kept; older ones have it, or are of other data"""
NOTE_LENGTH = 5000  # MLflow's limit on a tag's value


def spoken_of(card: Path) -> dict[str, str]:
    """Digest of each folder of data of which a card speaks; {} for a card of an earlier version of this project."""
    file = card / DIGESTS
    return dict(read_json(file)) if file.is_file() else {}


def card_link(experiment_id: str, run_id: str) -> str:
    """The card that a run keeps, as a Markdown link."""
    return f"[dataset card]({run_link(experiment_id, run_id)}/artifacts/{FOLDER}/{PAGE})"


def link_runs(client: Any, link: str, digests: Iterable[str], model: str) -> None:
    """Add the link to the descriptions of the runs that read data with these digests, or are of the model `model`."""
    wanted = [f"dataset.digest IN ({_quoted(digests)})", f"tags.model_digest = '{model}'"]
    for place in all_experiments(client):
        found = [run for query in wanted for run in client.search_runs([place], query, max_results=NEWEST)]
        for run in {run.info.run_id: run for run in found}.values():
            _add(client, run, link)


def link_run(client: Any, run_id: str) -> None:
    """Add the link to the newest card that speaks of the data of a run to its description; nothing without a card."""
    run = client.get_run(run_id)
    digests = [entry.dataset.digest for entry in run.inputs.dataset_inputs]
    if not digests:
        return
    wanted = f"dataset.context = '{CONTEXT}' AND dataset.digest IN ({_quoted(digests)})"
    order = ["attributes.start_time DESC"]
    found = client.search_runs(all_experiments(client), wanted, max_results=1, order_by=order)
    for keeper in found:
        _add(client, run, card_link(keeper.info.experiment_id, keeper.info.run_id))


def _add(client: Any, run: Any, link: str) -> None:
    """Add the link to a run's description, unless it has one."""
    text, line = run.data.tags.get(NOTE, ""), f"Data: {link}"
    if f"/{FOLDER}/{PAGE})" not in text:
        note = "\n\n".join(part for part in (text[: NOTE_LENGTH - len(line) - 2], line) if part)
        client.set_tag(run.info.run_id, NOTE, note)


def _quoted(digests: Iterable[str]) -> str:
    return ", ".join(f"'{digest}'" for digest in digests)
