"""External lists: of addresses (step `block_urls`) and of bad words (step `bad_words`).

UT1's lists have a folder for each category with `domains` and `urls`, one on each line; EasyList's are filters for
requests, of which those that name a host (`||host^`, `||host/path`) can be applied to a page too; the others are
counted and left out.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import PurePath

from llm_core.corpus.cleaning.batch import Batch
from llm_core.corpus.cleaning.html_blocks import WIDE
from llm_core.errors import UserError
from llm_core.formats.urls import domains_above, host_of, parse, place_of
from llm_core.kernels.words import mark_ranges, words
from llm_core.params.cleaning import BadWords, UrlList
from llm_core.runtime import json_lines
from llm_core.runtime.progress import log
from llm_core.runtime.storage import list_files

HOST_RULE = re.compile(r"(@@)?\|\|([A-Za-z0-9.-]+)(\^|/[^\s$^*|]*)?\^?\|?(?:\$(.*))?$")
PAGE_OPTIONS = frozenset(("third-party", "3p", "popup", "document", "doc", "all", "important"))


class BlockUrlsStep:
    """Drops documents whose address is on a list; reason `url_NAME`, NAME being the list's."""

    def __init__(self, lists: list[UrlList]) -> None:
        self.lists = [(given.name, Addresses.read(given)) for given in lists]

    def __call__(self, batch: Batch) -> None:
        """Judge the living documents that have an address."""
        for row in batch.alive():
            url = batch.urls[row]
            for name, addresses in self.lists:
                if url and url in addresses:
                    batch.drop(row, f"url_{name}")
                    break


class Addresses:
    """Hosts with all below them, and places on hosts by prefix."""

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self.allowed: set[str] = set()
        self.prefixes: dict[str, list[str]] = {}  # host -> beginnings of paths

    @classmethod
    def read(cls, given: UrlList) -> "Addresses":
        """The addresses of a list's files; UserError where there is no file."""
        files = list_files(given.path, ("",))
        if given.format == "ut1":
            names = ("domains", "urls")
            files = [file for file in files if PurePath(file).name.split(".")[0] in names] or files
        if not files:
            raise UserError(f"cleaning.url_lists: {given.path}: there is no file")
        addresses, left_out = cls(), 0
        for file in files:
            for line in _entries(file):
                added = addresses.add_filter(line) if given.format == "easylist" else addresses.add(line)
                left_out += not added
        if left_out:
            log(f"{given.path}: {left_out} entries are not about a page's address and were left out")
        return addresses

    def add(self, entry: str) -> bool:
        """Add a host, or a host with a path; False for an entry that is neither."""
        found = parse(entry)
        host = _without_www(found.host)
        if not host or " " in host:
            return False
        if path := place_of(found).rstrip("/"):
            self.prefixes.setdefault(host, []).append(path)
        else:
            self.hosts.add(host)
        return True

    def add_filter(self, line: str) -> bool:
        """Add a filter of EasyList; False for one that is not about hosts, or only about parts of pages."""
        if line.startswith(("!", "[")):
            return True
        found = HOST_RULE.fullmatch(line)
        if not found or not set(filter(None, (found[4] or "").split(","))) <= PAGE_OPTIONS:
            return False
        host, path = _without_www(host_of(found[2])), (found[3] or "").removeprefix("^")
        if found[1]:
            self.allowed.add(host)
        elif path.rstrip("/"):
            self.prefixes.setdefault(host, []).append(path)
        else:
            self.hosts.add(host)
        return True

    def __contains__(self, url: str) -> bool:
        found = parse(url)
        path = place_of(found)
        blocked = False
        for host in domains_above(_without_www(found.host)):
            if host in self.allowed:
                return False
            blocked = blocked or host in self.hosts or any(map(path.startswith, self.prefixes.get(host, ())))
        return blocked


class BadWordsStep:
    """Drops documents in which words of a list are too frequent; a share of them may be kept nevertheless."""

    def __init__(self, params: BadWords) -> None:
        self.params = params
        listed = sorted({word.lower() for file in params.files for word in _entries(file)}, key=lambda w: (-len(w), w))
        if params.files and not listed:
            raise UserError(f"cleaning.bad_words: {', '.join(params.files)}: no word in them")
        spaced = "|".join(re.escape(word) for word in listed if not WIDE.search(word))
        unspaced = [re.escape(word) for word in listed if WIDE.search(word)]
        # A listed word does not match where the text goes on with a vowel sign.
        part = rf"[\w{mark_ranges()}]"
        self.pattern = re.compile("|".join(([rf"(?<!{part})(?:{spaced})(?!{part})"] if spaced else []) + unspaced))
        self.empty = not listed

    def __call__(self, batch: Batch) -> None:
        """Judge the living documents."""
        if self.empty:
            return
        for row in batch.alive():
            text = batch.texts[row].lower()
            matches = sum(1 for _ in self.pattern.finditer(text))
            if matches < self.params.min_matches:
                continue
            share = matches / max(len(words(text)), 1)
            lucky = zlib.crc32(batch.ids[row].encode()) / 2**32 < self.params.keep_fraction
            if share > self.params.max_share and not lucky:
                batch.drop(row, "bad_words", share)


def _without_www(host: str) -> str:
    return host.removeprefix("www.")


def _entries(file: str) -> Iterator[str]:
    for line in json_lines.read_lines(file):
        entry = line.decode("utf-8", "replace").strip()
        if entry and not entry.startswith("#"):
            yield entry
