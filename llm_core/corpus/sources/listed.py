"""Which files a set of paths and a list of addresses name, in a stable order, and a seeded sample of them."""

import random

from llm_core.corpus.sources.base import Shard
from llm_core.errors import UserError
from llm_core.network.downloads import Client
from llm_core.params.sources import ListedSource
from llm_core.runtime.storage import list_files


def list_shards(params: ListedSource, client: Client, endings: tuple[str, ...]) -> list[Shard]:
    """A shard for each file, each once: `paths` in their order (folders sorted), then the list's addresses.

    Raises UserError when a path is missing, a line of the list is none, or nothing is left.
    """
    shards: dict[str, Shard] = {}
    for path in params.paths:
        for file in [path] if path.startswith(("http://", "https://")) else list_files(path, endings):
            shards[file] = Shard(file, file)
    if params.address_list:
        lines = client.bring(params.address_list).read_text("utf-8", "replace").splitlines()
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if not words or line.startswith("#"):
                continue
            digest = words[1].lower() if len(words) > 1 else None
            if len(words) > 2 or (digest is not None and len(digest) != 64):
                raise UserError(f"{params.address_list}:{number}: an address and, if known, its SHA-256 are needed")
            shards[words[0]] = Shard(words[0], words[0], digest)
    if not shards:
        where = ", ".join([*params.paths, *([params.address_list] if params.address_list else [])])
        raise UserError(f"{where}: names no file ending in {', '.join(endings)}")
    if params.files and params.files < len(shards):
        chosen = set(random.Random(params.seed).sample(sorted(shards), params.files))
        return [shard for name, shard in shards.items() if name in chosen]
    return list(shards.values())
