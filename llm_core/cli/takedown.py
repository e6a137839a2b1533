"""`llm-core takedown`: take documents out of the data."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Data, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say, say_lines

app = verb_app()


@app.command()
def takedown(
    identifier: Annotated[str, option("--id")] = "",
    url: Annotated[str, option("--url")] = "",
    domain: Annotated[str, typer.Option("--domain", help="A domain with all its subdomains.")] = "",
    text_hash: Annotated[str, typer.Option("--text-hash", help="The text's hash, as `trace --json` prints it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; it stays in the tombstones and the report.")] = "",
    near_duplicates: Annotated[
        bool, typer.Option(help="Near-duplicates leave too; otherwise one of them takes the removed one's place.")
    ] = True,
    apply: Annotated[bool, typer.Option("--apply", help="Write the tombstones; else only the plan is shown.")] = False,
    check: Annotated[bool, typer.Option("--check", help="After `dvc repro`: prove that it is gone.")] = False,
    out_file: Annotated[Path | None, option("--out-file", "A report to hand over, .md or .html.")] = None,
    file: Annotated[Path, option("--takedowns")] = Path("takedowns.jsonl"),
    data: Data = Path("data"),
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Remove documents and their twins from everything that is built after deduplication.

    Show the plan, write it with --apply, rebuild with `dvc repro`, and prove it with --check.
    Taking the lines out of the tombstone file and running `dvc repro` brings the first bytes back.
    """
    from llm_core.corpus import takedowns
    from llm_core.formats.pages import write_page
    from llm_core.lineage import takedown as lineage
    from llm_core.lineage.handover import plan_report
    from llm_core.lineage.index import open_index
    from llm_core.lineage.versions import tag

    params = read_params(params_file, overrides)
    if check:
        _prove(data, file, Path(params.network.cache).expanduser(), out_file)
        return
    asked = {"id": identifier, "url": url, "domain": domain, "text_hash": text_hash}
    given = {kind: value for kind, value in asked.items() if value}
    if len(given) != 1 or not reason:
        raise UserError("give one of --id, --url, --domain and --text-hash, and a --reason")
    kind, value = next(iter(given.items()))
    index = open_index(data)
    plan = lineage.plan(index, data, kind, value, reason, near_duplicates, params.seed)
    say_lines(plan.lines())
    if out_file:
        write_page(out_file, plan_report(plan, index, apply))
    if apply:
        tag(plan.versions, plan.request)
        takedowns.add_rows(file, plan.tombstones())
        say(f"{file}: written. Now `dvc repro`, then `llm-core takedown --check`; commit the file with git.")
    else:
        say("nothing was changed; --apply writes the tombstones")


def _prove(data: Path, file: Path, cache: Path, out_file: Path | None) -> None:
    """Print what is left and what remains; UserError while something is left or a tombstone names nothing."""
    from llm_core.formats.pages import write_page
    from llm_core.lineage.handover import check_report
    from llm_core.lineage.proof import check

    proof = check(data, file, cache)
    for folder, count in proof.left.items():
        say(f"  {folder:<22} {count} removed documents left")
    for problem in proof.unread:
        say(f"  not proven: {problem}")
    for place, how, advice in proof.remains:
        say(f"  what remains: {place}: {how}{' documents' if isinstance(how, int) else ''}; {advice}")
    if out_file:
        write_page(out_file, check_report(proof, data, file))
    if any(proof.left.values()):
        raise UserError("documents named by a tombstone are still there: run `dvc repro`")
    if proof.unread:
        raise UserError(f"{len(proof.unread)} files cannot be read, so nothing is proven of them: {proof.unread[0]}")
    if proof.unmatched:
        shown = "; ".join(proof.unmatched[:5]) + ("; …" if len(proof.unmatched) > 5 else "")
        raise UserError(f"{file}: {len(proof.unmatched)} tombstones name no document that was seen here: {shown}")
