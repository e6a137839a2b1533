"""`llm-core score`: BLEU, chrF, ROUGE or classification metrics of files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say_lines

app = verb_app()


class Kind(StrEnum):
    """What the files hold."""

    TRANSLATION = "translation"
    SUMMARIZATION = "summarization"
    CLASSIFICATION = "classification"


@app.command()
def score(
    kind: Annotated[Kind, typer.Argument(help="What the files hold; it chooses the metrics.")],
    given: Annotated[
        list[Path],
        typer.Option(
            "--given", help="A system's texts or labels, one a line, or .jsonl. Repeatable: paired with the first."
        ),
    ],
    references: Annotated[
        list[Path],
        typer.Option("--reference", help="The wanted texts or labels. Repeatable: several references an item."),
    ],
    key: Annotated[str, typer.Option("--key", help="Field of the .jsonl files.")] = "text",
    out: Annotated[Path | None, option("--out", "It gets metrics.json.")] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Score files of the user's: BLEU and chrF, ROUGE, or accuracy, macro F1 and Matthews correlation."""
    from llm_core.evaluation.text_metrics import compare_systems, read_labels, read_lines
    from llm_core.runtime.storage import output_folder, write_json

    params = read_params(params_file, overrides)
    read = read_labels if kind is Kind.CLASSIFICATION else read_lines
    systems = {_name(path, given): read(path, key) for path in given}
    if len(systems) < len(given):
        raise UserError("--given names the same file twice; each system needs a file of its own")
    wanted = [read(path, key) for path in references]
    found = compare_systems(kind.value, systems, wanted, params.evaluation.text_metrics, params.seed)
    if out:
        with output_folder(out) as folder:
            write_json(folder / "metrics.json", found)
    say_lines(lines(found))


def lines(found: dict[str, Any]) -> list[str]:
    """The scores for a person: each with its interval, differences with what could have been shown."""
    level = f"{found['confidence']:.0%}"
    shown = [f"{found['items']:,} items; brackets are {level} intervals (bootstrap of {found['resamples']:,})"]
    for name, metrics in found["scores"].items():
        for metric, score in metrics.items():
            sign = f"  {score['signature']}" if "signature" in score else ""
            ends = "no interval" if score["low"] is None else f"[{score['low']:.4f}, {score['high']:.4f}]"
            shown.append(f"{name}: {metric} {score['value']:.4f} {ends}{sign}")
    for name, metrics in found["differences"].items():
        for metric, row in metrics.items():
            difference = f"{name} against {found['against']}: {metric} {row['difference']:+.4f}"
            if row["low"] is None:
                shown.append(f"{difference}, {row['verdict']}")
                continue
            shown.append(f"{difference} [{row['low']:+.4f}, {row['high']:+.4f}], {row['verdict']}; smallest difference "
                         f"shown {row['detectable']:.4f}")  # fmt: skip
    return shown


def _name(path: Path, among: list[Path]) -> str:
    return path.stem if sum(other.stem == path.stem for other in among) == 1 else str(path)
