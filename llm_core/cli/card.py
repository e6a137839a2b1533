"""`llm-core card`: dataset card and model cards."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Data, Out, Overrides, ParamsFile, option, read_params, verb_app

app = verb_app()


@app.command()
def card(
    out: Out,
    model: Annotated[list[Path] | None, option("--model", "A card is written for it. Repeatable.")] = None,
    data: Data = Path("data"),
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Write dataset.md and a card for each --model, as Markdown and as pages, from the ledgers.

    digests.json beside them has the digest of each folder of data that the dataset card speaks of.
    The folder is kept in MLflow, and runs and versions made from its tokens link to it. Fails when a source has no
    licence entry.
    """
    from llm_core.formats.pages import write_page
    from llm_core.lineage.cards import dataset_card, digests
    from llm_core.lineage.model_cards import model_card
    from llm_core.runtime.storage import output_folder, write_json
    from llm_core.tracking.dataset_cards import DIGESTS
    from llm_core.tracking.versions import keep_card

    params = read_params(params_file, overrides)
    cards = {"dataset": dataset_card(data, params)}
    cards |= {folder.name: model_card(folder) for folder in model or []}
    with output_folder(out) as folder:
        for name, blocks in cards.items():
            for ending in (".md", ".html"):
                write_page(folder / f"{name}{ending}", blocks)
        write_json(folder / DIGESTS, digests(data))
    keep_card(out)
