"""Source kind `common_crawl`: a seeded sample of a crawl's files, or single records by URL pattern.

By files: `warc.paths.gz` (or wet, wat) of the crawl lists them; a sample of so many, or of a share, is a shard
each. By URL: the CDX index lists the captures that fit a pattern; each is one gzip member in some WARC file and is
brought with a byte-range request. A hundred of them are stored one behind the other, which is a WARC file again.
Layout and API: https://commoncrawl.org/get-started and https://index.commoncrawl.org.
"""

import random
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

from llm_core.corpus.sources.base import Document, Record, Rejected, Shard, only_urls
from llm_core.errors import UserError
from llm_core.network.downloads import Client
from llm_core.params.sources import CommonCrawlSource
from llm_core.runtime.digests import short_hash
from llm_core.runtime.json_lines import parse, read_lines
from llm_core.runtime.progress import log
from llm_core.runtime.redaction import redact
from llm_core.runtime.storage import output_file, read_json, write_json

RECORDS_A_SHARD = 100
MAX_CAPTURE_BYTES = 64 << 20
PATH = re.compile(r"[A-Za-z0-9_][\w.+=-]*(/[\w.+=-]+)*", re.ASCII)


class CommonCrawlRoom:
    """A crawl's files or captures; `params.base` and `params.index` may point to a mirror."""

    streaming = False

    def __init__(self, params: CommonCrawlSource, client: Client) -> None:
        self.params, self.client = params, client
        self.not_read: Counter[str] = Counter()
        self.base, self.index = params.base.rstrip("/"), params.index.rstrip("/")

    def shards(self) -> list[Shard]:
        """The sampled files, or the captures in groups; the same params choose the same."""
        crawls = self.params.crawl if isinstance(self.params.crawl, list) else [self.params.crawl]
        if crawls == ["newest"]:
            crawls = [self.newest()]
        return [shard for crawl in crawls for shard in (self._captures if self.params.urls else self._files)(crawl)]

    def newest(self) -> str:
        """Id of the newest crawl that collinfo.json lists."""
        address = f"{self.index}/collinfo.json"
        try:
            crawl = _checked(str(parse(self.client.get(address))[0]["id"]), address)
        except (ValueError, LookupError, TypeError):
            raise UserError(f"{address}: not a list of crawls") from None
        log(f"the newest crawl is {crawl}; name it in `crawl` to get the same data again")
        return crawl

    def bring(self, shard: Shard) -> Path:
        """A whole file, or the captures of a shard as one WARC file with a list of their places beside it."""
        if not shard.parts:
            return self.client.bring(shard.address)
        target = self.client.cache / "captures" / f"{short_hash(repr(shard.parts))}.warc.gz"
        if target.is_file() and _list_of(target).is_file():
            return target
        places, position = [], 0
        with output_file(target, "wb") as sink:
            for path, offset, length in shard.parts:
                try:
                    data = self.client.get(f"{self.base}/{path}", byte_range=(offset, length))
                except UserError as error:  # one capture less, not a shard less
                    places.append({"position": None, "file": path, "offset": offset, "error": str(error)})
                    continue
                sink.write(data)
                places.append({"position": position, "file": path, "offset": offset})
                position += len(data)
            if places and all(place["position"] is None for place in places):
                raise UserError(str(places[0]["error"]))
            write_json(_list_of(target), places)
        return target

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream the file's records; a capture's place is that in its own WARC file."""
        from llm_core.corpus.sources.warc import read_warc_file

        assert file is not None
        records = only_urls(read_warc_file(file, skipped, shard.name), self.params.url_pattern)
        if not shard.parts:
            yield from records
            return
        places = read_json(_list_of(file))
        for place in places:
            if place["position"] is None:
                error = str(place["error"])[:300]
                yield Rejected("quarantine_unavailable", place["offset"], detail=error, file=place["file"])
        there = [place for place in places if place["position"] is not None]
        starts = [place["position"] for place in there]
        for record in records:
            place = there[bisect_right(starts, record.offset) - 1]
            if isinstance(record, Document):
                metadata = {**record.metadata, "warc_file": place["file"]}
                yield replace(record, offset=place["offset"], file=place["file"], metadata=metadata)
            else:
                yield replace(record, offset=place["offset"], file=place["file"])

    def _files(self, crawl: str) -> list[Shard]:
        address = f"{self.base}/crawl-data/{crawl}/{self.params.format}.paths.gz"
        try:
            lines = [line.decode().strip() for line in read_lines(self.client.bring(address))]
        except (UserError, UnicodeDecodeError) as error:
            raise UserError(f"{redact(address)}: not a list of paths in gzip ({error})") from None
        paths = [_checked(line, address) for line in lines if line]
        if not paths:
            raise UserError(f"{redact(address)}: lists no file")
        count = self.params.files or max(1, round((self.params.share or 0) * len(paths)))
        chosen = random.Random(f"{self.params.seed}:{crawl}:{self.params.format}").sample(paths, min(count, len(paths)))
        log(f"{crawl}: {len(chosen)} of {len(paths)} {self.params.format} files")
        return [Shard(path, f"{self.base}/{path}") for path in sorted(chosen)]

    def _captures(self, crawl: str) -> list[Shard]:
        """The captures of the URL patterns, each once, sampled down to `params.records` and grouped."""
        found: set[tuple[str, int, int]] = set()
        for pattern in self.params.urls:
            before, lines = len(found), 0
            for line in self._cdx(crawl, pattern):
                lines += 1
                try:
                    capture = parse(line)
                    place = capture["filename"], int(capture["offset"]), int(capture["length"])
                except (ValueError, KeyError, TypeError):
                    raise UserError(f"{self.index}/{crawl}-index: not a line of the index: {line[:80]!r}") from None
                if place[1] < 0 or not 0 < place[2] <= MAX_CAPTURE_BYTES:
                    raise UserError(f"{self.index}/{crawl}-index: offset or length out of bounds: {line[:80]!r}")
                found.add((_checked(str(place[0]), f"{self.index}/{crawl}-index"), *place[1:]))
            if not lines:
                raise UserError(f"{crawl}: no capture of {pattern}; correct the pattern or leave it out")
            log(f"{crawl}: {len(found) - before} captures of {pattern}")
        if not found:
            raise UserError(f"{crawl}: no capture of {', '.join(self.params.urls)}")
        captures = sorted(found)
        if self.params.records and self.params.records < len(captures):
            captures = sorted(random.Random(f"{self.params.seed}:{crawl}").sample(captures, self.params.records))
        groups = [captures[start : start + RECORDS_A_SHARD] for start in range(0, len(captures), RECORDS_A_SHARD)]
        return [Shard(f"{crawl}/captures-{short_hash(repr(group))[:12]}", parts=tuple(group)) for group in groups]

    def _cdx(self, crawl: str, pattern: str) -> Iterator[bytes]:
        """Lines of the index for a pattern, page by page; an index never changes, so its answers are kept."""
        question = {"url": pattern, "output": "json"}
        address = f"{self.index}/{crawl}-index"
        try:
            pages = self.client.bring(f"{address}?{urlencode({**question, 'showNumPages': 'true'})}").read_bytes()
            number = int(parse(pages)["pages"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{address}: did not say how many pages it has for {pattern}") from None
        filters = [("filter", "=status:200")]
        for page in range(number):
            query = urlencode([*question.items(), ("page", str(page)), *filters])
            try:
                answer = self.client.bring(f"{address}?{query}")
            except UserError as error:
                if " 404 " in str(error):  # how the server says that a page has no capture
                    continue
                raise
            yield from (line for line in read_lines(answer) if line.strip())


def _checked(path: str, listing: str) -> str:
    """A path from a list of a crawl's files. Raises UserError where it could lead away from `base`."""
    if not PATH.fullmatch(path) or ".." in path.split("/") or "." in path.split("/"):
        raise UserError(f"{redact(listing)}: lists {path[:120]!r}, which is no plain path below the crawl; refused")
    return path


def _list_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.places.json")
