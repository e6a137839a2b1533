"""The stage `finetune-data NAME`: the rows of one run, checked and split, into train, held-out and test files."""

from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.params.finetuning import Data
from llm_core.runtime.progress import log, report
from llm_core.runtime.storage import output_folder, write_json
from llm_core.training.finetuning.data import factbook
from llm_core.training.finetuning.registry import method as find_method
from llm_core.training.finetuning.rows import write_rows


def prepare(name: str, out: Path, params: Params, source: str | None = None) -> dict[str, Any]:
    """Write the rows of the run (or method) `name` into `out`; returns the metrics.

    `source`, by default the run's `data.path`, is a `split` folder of documents (then the Factbook's fields become
    rows), or a data set: a file, a folder of files, or the name of a preset (see `hub.py` and
    `packaged.py`).
    """
    run = params.finetuning.run(name)
    source = source or run.data.path
    if (Path(source) / "train" / "documents").is_dir():
        split, metrics = from_documents(run.method, source, run.data, params.seed)
    else:
        from llm_core.training.finetuning.data.dataset import from_dataset
        from llm_core.training.finetuning.data.packaged import PACKAGED, read_packaged

        packaged = read_packaged(source, params) if source in PACKAGED else None
        split, metrics = from_dataset(run.method, source, run.data, params.seed, packaged)
    metrics |= find_method(run.method).arrange(split)
    metrics |= {f"{side}_rows": len(rows) for side, rows in split.items()}
    with output_folder(out) as folder:
        write_rows(folder, split)
        write_json(folder / "metrics.json", metrics)
    log(f"finetune-data {name}: " + ", ".join(f"{len(rows)} {side}" for side, rows in split.items()))
    report({"metrics": metrics})
    return metrics


def from_documents(method: str, source: str, data: Data, seed: int) -> tuple[factbook.Split, dict[str, Any]]:
    """The default data of `method`, made of the documents of a `split` folder, and its metrics."""
    if data.group:
        raise UserError(
            f"data.group '{data.group}' names a column of a data set, and {source} is a `split` folder, whose rows "
            "have the sides of their documents: leave data.group out"
        )
    make = find_method(method).document_rows
    if make is not None:
        return make(Path(source), data, seed)
    return from_factbook(method, source, data, seed)


def from_factbook(method: str, source: str, data: Data, seed: int) -> tuple[factbook.Split, dict[str, Any]]:
    """The rows that `method` makes of the World Factbook, split by country, and their metrics; see `factbook.py`."""
    make = find_method(method).default_rows
    if make is None:
        hint = find_method(method).other_data.format(source=source) or "let data.path name a file of rows of your own"
        raise UserError(f"{source}: {method} makes no rows of documents; {hint}")
    countries = factbook.read_countries(source)
    sides = factbook.split_countries(countries, data.heldout_share, data.test_share)
    items = factbook.questions(countries, data.open_variants, seed)
    trained_on = [country for country in countries if sides[country.name] == "train"]
    conversations = factbook.conversations(trained_on, data.conversations, seed, data.exchanged)
    split = make(factbook.Facts(countries, sides, items, seed, conversations, data.format))
    test = [country for country in countries if sides[country.name] == "test"]
    metrics: dict[str, Any] = {
        f"{side}_countries": list(sides.values()).count(side) for side in ("train", "heldout", "test")
    }
    metrics["countries_unseen_in_pretraining"] = sum(not country.documents["train"] for country in test)
    return split, metrics
