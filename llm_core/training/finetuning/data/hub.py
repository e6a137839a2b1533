"""Presets: data sets of the hub by a short name. They need the network; `datasets` does the download."""

from collections.abc import Iterator
from typing import Any

from llm_core.errors import UserError

Row = dict[str, Any]
PRESETS: dict[str, dict[str, Any]] = {  # name -> hub data set, its configuration, and the fields where they differ
    "imdb": {"path": "stanfordnlp/imdb"},
    "ag_news": {"path": "fancyzhx/ag_news"},
    "sms_spam": {"path": "ucirvine/sms_spam", "name": "plain_text", "text_field": "sms"},
    "alpaca": {"path": "tatsu-lab/alpaca"},
    "dolly": {"path": "databricks/databricks-dolly-15k"},
    "flan": {"path": "Muennighoff/flan"},
    "hh_rlhf": {"path": "Anthropic/hh-rlhf"},
    "ultrafeedback": {"path": "HuggingFaceH4/ultrafeedback_binarized", "split": "train_prefs"},
}


def read_hub(preset: dict[str, Any]) -> Iterator[tuple[str, Row]]:
    """(`dataset row n`, row) of a hub data set's training split, label numbers as their names."""
    from datasets import ClassLabel, load_dataset

    try:
        found = load_dataset(preset["path"], preset.get("name"), split=preset.get("split", "train"))
    except Exception as error:
        raise UserError(
            f"{preset['path']}: not reachable on the hub ({str(error).splitlines()[0][:120]}); give a file"
        ) from None
    named = {key: kind for key, kind in found.features.items() if isinstance(kind, ClassLabel)}
    for number, row in enumerate(found):
        yield (
            f"{preset['path']} row {number}",
            {key: named[key].int2str(value) if key in named else value for key, value in row.items()},
        )
