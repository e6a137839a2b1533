"""The web recipe, run as it is but for its addresses, which point to loopback."""

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import zstandard

from llm_core.params import load
from tests.llm_core.sources.loopback import Loopback, serve_common_crawl
from tests.llm_core.sources.warc_files import record

ROOT = Path(__file__).parents[3]


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_every_source_of_the_web_recipe(site: Loopback, run):
    sources = load(ROOT / "presets/web.yaml").sources
    crawl, dolma, pile = sources["common_crawl"], sources["dolma"], sources["pile"]
    files = {f"{number}.warc.gz": [record(10 * number)] for number in range(9)}
    serve_common_crawl(site, crawl.crawl, files)  # type: ignore[union-attr]
    local = {"base": site.address, "index": site.address}
    assert len(run(crawl.model_copy(update=local), "common_crawl").documents) == 4

    listing = urlsplit(dolma.address_list).path  # type: ignore[union-attr,type-var]
    for number in range(5):
        rows = lines({"id": f"d{number}", "text": "text", "source": "cc", "metadata": {}})
        site.files[f"/v1_6-sample/{number}.json.gz"] = gzip.compress(rows)
    addresses = [f"{site.address}/v1_6-sample/{number}.json.gz" for number in range(5)]
    site.files[str(listing)] = "\n".join(addresses).encode()
    moved = dolma.model_copy(update={"address_list": f"{site.address}{listing!s}"})
    assert len(run(moved, "dolma").documents) == 2

    path = urlsplit(pile.paths[0]).path  # type: ignore[union-attr]
    sets = ["Pile-CC", "Wikipedia (en)", "Github"]
    rows = lines(*({"text": f"from {name}", "meta": {"pile_set_name": name}} for name in sets))
    site.files[path] = zstandard.compress(rows)
    moved = pile.model_copy(update={"paths": [f"{site.address}{path}"]})
    assert [row["text"] for row in run(moved, "pile").documents] == ["from Pile-CC", "from Wikipedia (en)"]
