"""The templates by which models are asked, in MLflow's prompt registry, linked from the runs and traces that used them.

A version is a text: one that was registered before is found by its text, so a version's number says that the template
changed, and two runs with the same version asked in the same words. A template's variables are in double braces, as
MLflow shows them; a chat template is the tokenizer's own Jinja.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llm_core.runtime.progress import log
from llm_core.tracking.runs import Run, client

Templates = Mapping[str, str]
"""name of a template -> its text"""
CHAT = "chat-template"
"""name of the templates by which tokenizers make one text of a conversation"""
EXPERIMENTS = "_mlflow_experiment_ids"  # tag by which MLflow lists a prompt on the page of an experiment
MOST = 100  # versions of a template that are compared with a text, newest first
_known: dict[tuple[str, str, str, str], Any] = {}  # a server asks with the same templates all day


def of_tokenizer(tokenizer: Any) -> dict[str, str]:
    """The chat template of a tokenizer; {} where it has none."""
    template = getattr(tokenizer, "chat_template", None)
    return {CHAT: template} if isinstance(template, str) else {}


def link_run(run: Run, templates: Templates) -> None:
    """Link a run to the versions of the templates that it used; nothing where tracking is off.

    The run does not fail with the registry: a line says that a link is missing.
    """
    if run.run_id and templates:
        store = client()
        with _missing(f"run {run.run_id}"):
            for version in _versions(store, run.experiment_id, templates):
                store.link_prompt_version_to_run(run.run_id, version)


def link_trace(store: Any, experiment_id: str, trace_id: str, templates: Templates) -> None:
    """Link a trace to the versions of the templates that it used; a line says that a link is missing."""
    with _missing(f"trace {trace_id}"):
        if found := _versions(store, experiment_id, templates):
            store.link_prompt_versions_to_trace(found, trace_id)


@contextmanager
def _missing(what: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        log(f"tracking: {what} is not linked to its prompt templates: {str(error).splitlines()[0]}")


def _versions(store: Any, experiment_id: str, templates: Templates) -> list[Any]:
    found = []
    for name, text in templates.items():
        key = store.tracking_uri, experiment_id, name, text
        if key not in _known:
            _known[key] = _version(store, experiment_id, re.sub(r"[^\w.-]", "_", name, flags=re.ASCII), text)
        found.append(_known[key])
    return found


def _version(store: Any, experiment_id: str, name: str, text: str) -> Any:
    """The version of a template that has this text, made where there is none; listed with the experiment."""
    prompt = store.get_prompt(name) or store.create_prompt(name)
    listed = [number for number in prompt.tags.get(EXPERIMENTS, "").split(",") if number]
    if experiment_id not in listed:
        store.set_prompt_tag(name, EXPERIMENTS, f",{','.join([*listed, experiment_id])},")
    versions = store.search_prompt_versions(name, max_results=MOST)
    return next((each for each in versions if each.template == text), None) or store.create_prompt_version(name, text)
