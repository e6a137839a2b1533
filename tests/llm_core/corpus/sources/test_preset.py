"""The web recipe, run unchanged except for its addresses, which point to loopback."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from llm_core.formats.names import reason
from llm_core.params import load
from llm_core.params.presets import values_of
from pipelines.metadata import sampled_drops
from tests.llm_core.corpus.sources.loopback import Loopback, serve_common_crawl
from tests.llm_core.corpus.sources.prose import article, web_page
from tests.llm_core.corpus.sources.warc_files import OK, http, record

ROOT = Path(__file__).parents[4]
GERMAN = (
    "Der Hafenmeister schrieb gestern, dass die alte Brücke im Frühjahr geschlossen wird. Keiner war darüber froh. "
)


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


def serve_miniature(site: Loopback, recipe: dict[str, Any]) -> None:
    """Put a miniature of each of the recipe's web sources on `site`, in its real layout, and point the recipe there."""
    crawl, dolma, pile = (recipe["sources"][name] for name in ("common_crawl", "dolma", "pile"))
    files = {}
    for number in range(4):  # the recipe takes four files: all, so that the pages are known
        seeds = range(10 * number, 10 * number + 3)
        pages = [http(web_page(f"Article {seed}", article(seed))) for seed in seeds]
        pages.append(http(web_page("Brücke", GERMAN * 8)))
        pages.append(http(web_page("Stub", "This page is only a stub, and of no use to anybody who wants more.")))
        pages.append(http(b"gone", b"HTTP/1.1 404 Not Found\r\n"))
        pages.append(http(b"%PDF-1.4", OK.replace(b"text/html; charset=utf-8", b"application/pdf")))
        info = record(number, b"software: test\r\n", "warcinfo", content_type="application/warc-fields")
        files[f"CC-{number}.warc.gz"] = [info, *(record(100 * number + n, page) for n, page in enumerate(pages))]
    serve_common_crawl(site, crawl["crawl"], files)
    crawl |= {"base": site.address, "index": site.address}

    listing = urlsplit(dolma["address_list"]).path
    addresses = []
    for number in range(2):
        texts = [article(seed) for seed in range(200 + 10 * number, 203 + 10 * number)]
        texts += [article(0), "{ int main; } " * 40, "the same words of no use " * 60]  # 0: also in the crawl
        made = {"source": "common-crawl", "added": "2023-04-11T09:57:03Z", "created": "2020-01-01T00:00:00Z"}
        rows = [{"id": f"cc-{number}-{n}", "text": text, "metadata": {}} | made for n, text in enumerate(texts)]
        addresses.append(f"{site.address}/dolma/v1_6-sample/{number}.json.gz")
        site.files[urlsplit(addresses[-1]).path] = gzip.compress(lines(*rows))
    site.files[listing] = "\n".join(addresses).encode()
    dolma["address_list"] = site.address + listing

    path = urlsplit(pile["paths"][0]).path
    sets = ["Pile-CC", "Wikipedia (en)", "Github", "ArXiv"]
    rows = [{"text": article(300 + n), "meta": {"pile_set_name": sets[n % 4]}} for n in range(12)]
    rows.append({"text": "Too short.", "meta": {"pile_set_name": "Pile-CC"}})
    site.files[path] = zstandard.compress(lines(*rows))
    pile["paths"] = [site.address + path]


@pytest.mark.slow
def test_the_web_recipe_from_the_network_to_tokens(site: Loopback, tmp_path: Path):
    """Every stage of the recipe up to the token shards, by the verbs; then the drops as people see them."""
    recipe = values_of(ROOT / "presets/web.yaml")
    serve_miniature(site, recipe)
    del recipe["sources"]["factbook"], recipe["cleaning"]["exempt"], recipe["split"]["group_by"]  # PyPI is not here
    recipe["tokenizer"]["vocab_size"] = 400
    recipe["split"]["heldout_share"] = 0.2
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    unset = ("LLM_CORE_PROJECT", "MLFLOW_TRACKING_URI", "HF_HUB_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"PYTHONPATH": str(ROOT)}

    def verb(line: str) -> None:
        command = [sys.executable, "-m", "llm_core.cli", *line.split()]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    for source in recipe["sources"]:
        verb(f"fetch {source} --out data/raw/{source}")
        verb(f"clean --in data/raw/{source} --out data/clean/{source}")
    verb("dedup --in data/clean/{source} --out data/dedup")
    verb("split --in data/dedup --out data/split")
    verb("train-tokenizer --in data/split/train --out data/tokenizer")
    verb("tokenize --in data/split --tokenizer data/tokenizer --out data/tokens")
    verb("report --out data/report")

    def metrics(folder: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((tmp_path / "data" / folder / "metrics.json").read_text())
        return found

    expected = {
        "raw/common_crawl": {"http_status": 4, "not_html": 4},
        "clean/common_crawl": {"language": 4, "top_3_gram": 4},
        "raw/dolma": {},
        "clean/dolma": {"language_score": 2, "top_2_gram": 2},
        "raw/pile": {"pile_subset": 6},
        "clean/pile": {"language_score": 1},
        "dedup": {"exact_duplicate": 2},
    }
    assert {folder: metrics(folder)["dropped_by_reason"] for folder in expected} == expected
    kept = [text for folder in ("train", "heldout") for text in texts(tmp_path / "data/split" / folder / "documents")]
    seeds = [10 * n + m for n in range(4) for m in range(3)]
    seeds += [200, 201, 202, 210, 211, 212] + [300 + n for n in range(12) if n % 4 < 2]
    assert sorted(kept) == sorted(map(article, seeds))
    assert metrics("tokens")["train"]["documents"] + metrics("tokens")["heldout"]["documents"] == len(seeds)

    page = (tmp_path / "data/report/report.md").read_text(encoding="utf-8")
    assert "common_crawl: in a language not wanted (4):" in page and "| Brücke Der Hafenmeister schrieb" in page
    shown = sampled_drops(tmp_path / "data/clean/dolma/drops.jsonl")
    score, grams = (f"**{reason(name)}**" for name in ("language_score", "top_2_gram"))
    assert 0 == shown.index(score) < shown.index(grams) < shown.index("the same words of no use")


def texts(folder: Path) -> list[str]:
    found: list[str] = pq.read_table(folder)["text"].to_pylist()
    return found
