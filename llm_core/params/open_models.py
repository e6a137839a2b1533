"""Params of open models: models that others published, taken into the graph under a name."""

from pydantic import Field

from llm_core.params.base import Section

MADE_HERE = frozenset({"base"})
"""names under data/models that a stage of dvc.yaml writes"""


class OpenModel(Section):
    """A model to take: a local folder in the Hugging Face layout, or a model of the hub at one commit."""

    from_: str = Field(alias="from", min_length=1)
    """A folder, or the model's name on the hub, such as `Qwen/Qwen3-0.6B`."""
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$")
    """The commit of a hub model, all 40 digits (on the hub: Files, History). A branch would change the model under
    your feet, so a hub model without a commit is refused with the present one in the message."""


def check_names(models: dict[str, OpenModel]) -> None:
    """Raise ValueError where a name is that of a model which the pipeline makes itself."""
    for name in MADE_HERE & models.keys():
        raise ValueError(f"the name {name!r} is that of the pretrained model, data/models/{name}; choose another")
