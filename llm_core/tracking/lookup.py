"""What the tracking store has of earlier runs and models."""

import re

from llm_core.tracking.experiments import all_experiments, run_link
from llm_core.tracking.runs import client
from llm_core.tracking.store import has_store


def last_metrics(stage: str) -> dict[str, float]:
    """Every metric of the newest finished run whose stage begins so; {} without one (or with tracking off)."""
    if not has_store():
        return {}
    store = client()
    places = all_experiments(store)
    name = re.sub(r"[^\w-]", "", stage)  # it becomes part of a query
    wanted = f"tags.stage LIKE '{name}%' AND attributes.status = 'FINISHED'"
    runs = store.search_runs(places, wanted, max_results=1) if places and name else []
    return dict(runs[0].data.metrics) if runs else {}


def links(**tags: str) -> list[str]:
    """Links to the newest run of each experiment that has these tags, as Markdown: `[evaluate@base](#/…)`."""
    store, found = client(), []
    wanted = " AND ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    for place in all_experiments(store):
        for each in store.search_runs([place], wanted, max_results=1, order_by=["attributes.start_time DESC"]):
            found.append(f"[{each.info.run_name}]({run_link(place, each.info.run_id)})")
    return found


def logged_model(digest: str) -> tuple[str, str] | None:
    """(id, id of its run) of the newest whole logged model of a folder with this digest; None where none was logged."""
    store = client()
    found = store.search_logged_models(all_experiments(store), filter_string=f"tags.model_digest = '{digest}'")
    return next(((str(model.model_id), str(model.source_run_id)) for model in found if model.status == "READY"), None)
