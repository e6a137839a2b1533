"""`llm-core gc`: remove shards from object storage that no manifest names."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def gc(
    storage: Annotated[str, typer.Argument(help="Address of the storage, as in `launch.storage.address`.")],
    keep: Annotated[
        list[Path] | None,
        typer.Option("--keep", help="Project folder whose manifests are kept. Repeatable. The default is this folder."),
    ] = None,
    older_than: Annotated[
        float, typer.Option("--older-than", help="Hours; objects that are younger are left alone.", min=0)
    ] = 24.0,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; else they are only counted.")] = False,
) -> None:
    """Remove the shards that no manifest names: neither one in an output nor one in DVC's cache.

    Name every project that uses the storage with --keep. Versions of which this machine has no manifest are not known:
    `dvc fetch --all-commits` brings those of the whole history, a few kilobytes each, and `dvc gc` forgets versions.
    Do not run it while a stage writes to the storage.
    """
    from llm_core.runtime.object_storage import check_address, named_below, remove_objects, unnamed_objects

    check_address(storage)
    folders = keep or [Path()]
    named = named_below(folders)
    inside = sum(address.startswith(f"{storage.rstrip('/')}/") for address in named.addresses)
    if not inside:
        raise UserError(
            f"{storage}: none of the {named.manifests} manifests below {', '.join(map(str, folders))} names a shard "
            "there, so everything would be removed; name the project's folder with --keep"
        )
    found = list(unnamed_objects(storage, named, older_than))
    size = sum(one.bytes for one in found)
    say(f"{storage}: {inside} shards are named by {named.manifests} manifests")
    say(f"{len(found)} shards, {size} bytes, are named by none and older than {older_than:g} hours")
    if delete and found:
        remove_objects(storage, found)
        say("removed")
    elif found:
        say("nothing was removed; --delete removes them")
