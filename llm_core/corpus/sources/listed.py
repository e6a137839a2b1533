"""Which files a set of paths and a list of addresses name, in a stable order, and a seeded sample of them."""

import random
import re
from collections import Counter
from collections.abc import Iterator

from llm_core.corpus.sources.base import Limits, Shard
from llm_core.corpus.sources.survey import ending_of, fits, survey
from llm_core.errors import UserError
from llm_core.network.addresses import check_listed, is_web
from llm_core.network.downloads import Client
from llm_core.params.sources import ListedSource
from llm_core.runtime.json_lines import MARK, read_lines
from llm_core.runtime.redaction import redact

SHA256 = re.compile(r"[0-9a-f]{64}")
PATTERNS = "*?["


def list_shards(params: ListedSource, client: Client, endings: tuple[str, ...], not_read: Counter[str]) -> list[Shard]:
    """A shard for each file, each once: `paths` in their order (folders sorted), then the list's addresses.

    A shard's name is its address without passwords and tokens. Files that are passed over are counted in `not_read`.
    Raises UserError when a path is missing, a line of the list is none, or nothing is left.
    """
    shards: dict[str, Shard] = {}
    for address, digest in _named(params, client, endings, not_read):
        name = redact(address)
        while name in shards and shards[name].address != address:  # they differ in a token alone
            name += "+"
        shards[name] = Shard(name, address, digest)
    if not shards:
        where = ", ".join([*params.paths, *([params.address_list] if params.address_list else [])])
        passed = "; not read: " + counts_of(not_read) if not_read else ""
        raise UserError(f"{redact(where)}: names no file ending in {', '.join(endings)}{passed}")
    if params.files and params.files < len(shards):
        chosen = set(random.Random(params.seed).sample(sorted(shards), params.files))
        return [shard for name, shard in shards.items() if name in chosen]
    return list(shards.values())


def check_again(params: ListedSource, address: str) -> None:
    """Raise UserError for an address of the source's list that may not be asked (now, in this process)."""
    if address and params.address_list and address not in params.paths:
        shown = redact(params.address_list)
        check_listed(address, params.address_list, shown)


def limits(params: ListedSource) -> Limits:
    """The source's bounds on one record and one file."""
    return Limits(params.max_document_bytes, params.max_inflation)


def counts_of(not_read: Counter[str]) -> str:
    """Counts of files by reason, for people: `3 other_ending .pdf, 1 linked_folder`."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(not_read.items()))


def _named(
    params: ListedSource, client: Client, endings: tuple[str, ...], not_read: Counter[str]
) -> Iterator[tuple[str, str | None]]:
    for path in params.paths:
        if is_web(path):
            yield path, None
            continue
        files, others = survey(path, endings)
        not_read.update(others)
        yield from ((file, None) for file in files)
    if params.address_list:
        for address, digest in _listed(params.address_list, client):
            if is_web(address) and not fits(address, endings):
                not_read[f"other_ending {ending_of(address)}"] += 1
            else:
                yield address, digest


def _listed(address_list: str, client: Client) -> Iterator[tuple[str, str | None]]:
    """(address, SHA-256 or None) of each line."""
    shown = redact(address_list)
    for number, line in enumerate(read_lines(client.bring(address_list)), start=1):
        words = line.removeprefix(MARK).decode("utf-8", "replace").split()
        if not words or words[0].startswith("#"):
            continue
        digest = words[1].lower() if len(words) > 1 else None
        if len(words) > 2 or (digest is not None and not SHA256.fullmatch(digest)):
            raise UserError(f"{shown}:{number}: an address and, if known, its SHA-256 are needed")
        check_listed(words[0], address_list, f"{shown}:{number}")
        yield words[0], digest
