"""The dataset card in the tracking store, one click from the runs and versions that were made from its tokens.

`llm-core card` keeps the card with a run of its own, which names the training tokens of which the card speaks as a
dataset with the context CONTEXT. The digest of the tokens is what leads to it: held-out text and benchmarks may be
those of another corpus too. Runs on these tokens, and versions of models made from them, have a link in their
description: earlier ones from when a card is kept, later ones from their end on.
"""

from pathlib import Path
from typing import Any

from llm_core.runtime.storage import read_json
from llm_core.tracking.experiments import NOTE, all_experiments, run_link

CONTEXT = "dataset card"
FOLDER, PAGE, DIGESTS = "card", "dataset.html", "digests.json"
TOKENS = "tokens/train"
TAG = "tokens_digest"
"""tag of a run and of a version: digest of the tokens from which the model was made"""
NEWEST = 100
"""runs of an experiment that get the link when a card is kept; older ones have it, or are of other data"""
NOTE_LENGTH = 5000  # MLflow's limit on a tag's value


def tokens_of_card(card: Path) -> dict[str, str]:
    """Path and digest of the training tokens of which a card speaks; {} where there are none."""
    return {path: digest for path, digest in read_json(card / DIGESTS).items() if path.endswith(TOKENS)}


def tokens_of_model(model: Path) -> str:
    """Digest of the tokens on which a model, or the parent of a finetune, was pretrained; "" where nothing says it."""
    record, metrics = (model / name for name in ("training_data.json", "metrics.json"))
    if record.is_file():
        return str(read_json(record).get(TAG, ""))
    parent = read_json(metrics).get("parent") if metrics.is_file() else None
    return str(parent.get(TAG, "")) if isinstance(parent, dict) else ""


def newest_card(client: Any, *tokens: str) -> str:
    """The newest card that speaks of tokens with one of these digests, as a Markdown link; "" where none is kept."""
    digests = ", ".join(f"'{digest}'" for digest in tokens)
    wanted = f"dataset.context = '{CONTEXT}' AND dataset.digest IN ({digests})"
    order = ["attributes.start_time DESC"]
    for run in client.search_runs(all_experiments(client), wanted, max_results=1, order_by=order) if tokens else ():
        return card_link(run.info.experiment_id, run.info.run_id)
    return ""


def card_link(experiment_id: str, run_id: str) -> str:
    """The card that a run keeps, as a Markdown link."""
    page = run_link(experiment_id, run_id, f"/artifacts/{FOLDER}/{PAGE}")
    return f"[dataset card]({page})"


def link_earlier(client: Any, link: str, tokens: str) -> None:
    """Add the link to the descriptions of the runs and versions that were made from these tokens before."""
    wanted = [f"dataset.digest = '{tokens}'", f"tags.{TAG} = '{tokens}'"]
    for place in all_experiments(client):
        found = [run for query in wanted for run in client.search_runs([place], query, max_results=NEWEST)]
        for run in {run.info.run_id: run for run in found}.values():
            link_run(client, run, link)
    for version in client.search_model_versions(f"tags.{TAG} = '{tokens}'"):
        if note := _with(version.description or "", link):
            client.update_model_version(version.name, version.version, note)


def link_own(client: Any, run_id: str) -> None:
    """Add the link to the newest card of its tokens to a run's description; nothing without a card."""
    run = client.get_run(run_id)
    digests = [entry.dataset.digest for entry in run.inputs.dataset_inputs]
    digests += [run.data.tags[TAG]] if TAG in run.data.tags else []
    if link := newest_card(client, *digests):
        link_run(client, run, link)


def link_run(client: Any, run: Any, link: str) -> None:
    """Add the link to a run's description, unless it has one."""
    if note := _with(run.data.tags.get(NOTE, ""), link):
        client.set_tag(run.info.run_id, NOTE, note)


def _with(text: str, link: str) -> str:
    """A description with the link; "" where it has one, or is that of the run that keeps the card."""
    line = f"Data: {link}"
    if f"{FOLDER}/{PAGE}" in text:
        return ""
    return "\n\n".join(part for part in (text[: NOTE_LENGTH - len(line) - 2], line) if part)
