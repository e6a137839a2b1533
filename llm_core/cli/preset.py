"""`llm-core preset`: a params.yaml made of a preset."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say

app = verb_app()
FOLDER = Path("presets")


@app.command()
def preset(
    name: Annotated[
        str, typer.Argument(help="Name (`web`) or file of a preset; without one, presets are listed.", metavar="PRESET")
    ] = "",
    out_file: Annotated[
        Path | None, option("--out-file", "For example params.yaml; without it, the text is printed.")
    ] = None,
    differences: Annotated[
        bool, typer.Option("--differences", help="Print only the keys whose values differ from params.yaml.")
    ] = False,
) -> None:
    """Print the params.yaml that a preset makes: the project's own with the preset's values, comments kept."""
    from llm_core.params import load, presets
    from llm_core.params.reading import read_yaml
    from llm_core.runtime.storage import output_file

    if not name:
        files = sorted(FOLDER.glob("*.yaml"))
        if not files:
            raise UserError(f"{FOLDER}: no presets here; run this in the project's folder, or name a file")
        for file in files:
            say(f"{file.stem}: {' '.join(str(read_yaml(file).get(presets.MARK)).split())}")
        return
    file = presets.find(name, FOLDER)
    load(file)
    if differences:
        for key, (before, after) in changes(file).items():
            say(f"{key}: {before!r} -> {after!r}")
        return
    text = presets.merge(file)
    if out_file is None:
        say(text, end="")
        return
    with output_file(out_file) as stream:
        stream.write(text)


def changes(file: Path) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (value in params.yaml or None, value with the preset or None), where the two differ."""
    from llm_core.params import presets
    from llm_core.params.reading import read_values
    from llm_core.runtime.nested import flatten

    before, after = flatten(read_values(presets.base_of(file))), flatten(presets.values_of(file))
    keys = sorted({*before, *after})
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}
