"""The fetch stage: a source's shards, brought, read and written as documents with a ledger.

Each shard becomes a finished folder in the scratch place, keyed by a fingerprint of the source's params,
so that a killed stage goes on where it stopped; at the end the shards' files are linked into the output in the
shards' order. Threads wait for the network, processes parse; the bytes do not depend on how many there are.
"""

import hashlib
import importlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.base import Record, Rejected, Shard, SourceRoom
from llm_core.corpus.sources.gather import TOLD_APART, gather
from llm_core.corpus.sources.listed import counts_of
from llm_core.errors import require_known
from llm_core.formats.documents import BATCH_ROWS, DocumentWriter, document_id
from llm_core.formats.ledger import LedgerWriter, Row, Verdict, check_balance
from llm_core.formats.schema import as_text, without_secrets
from llm_core.network.downloads import Client
from llm_core.params.sources import Network, Source, plugin_kinds
from llm_core.runtime.digests import short_hash
from llm_core.runtime.guard import end_with
from llm_core.runtime.json_lines import SURROGATE
from llm_core.runtime.progress import log, report, task
from llm_core.runtime.redaction import redact
from llm_core.runtime.storage import output_folder, read_json, write_json

SCRATCH = Path(".scratch/fetch")
BATCH_CHARACTERS = 4 << 20
SMALL_BYTES = 4 << 20  # a smaller file is read before a process for it would have begun
LAYOUT = 5  # of what a shard's scratch folder holds; raise it when records are made differently


ROOMS = {
    "package": ("llm_core.corpus.sources.package", "PackageRoom"),
    "common_crawl": ("llm_core.corpus.sources.common_crawl", "CommonCrawlRoom"),
    "pile": ("llm_core.corpus.sources.pile", "PileRoom"),
    "dolma": ("llm_core.corpus.sources.dolma", "DolmaRoom"),
    "hub": ("llm_core.corpus.sources.hub", "HubRoom"),
    "files": ("llm_core.corpus.sources.files", "FilesRoom"),
}  # kind -> where it is; imported only when it is used. Kinds of other distributions: `params.sources.plugin_kinds`


def open_source(params: Source, client: Client) -> SourceRoom:
    """The room for a source of this kind."""
    if params.kind in ROOMS:
        module, name = ROOMS[params.kind]
        make = getattr(importlib.import_module(module), name)
    else:
        make = plugin_kinds()[params.kind].room
    room: SourceRoom = make(params, client)
    return room


def fetch(source: str, params: Source, network: Network, out: Path, scratch: Path = SCRATCH) -> dict[str, Any]:
    """Fetch the source named `source` into `out` (documents, ledger, metrics.json); return the metrics.

    Raises UserError on what stops the whole source: no such address, a wrong hash, nothing in it.
    """
    client = Client(network)
    room = open_source(params, client)
    place = scratch / f"{source}-{fingerprint(source, params)}"
    shards = _list(room, place, local=not (room.streaming or params.kind == "common_crawl"))
    folders = [place / f"{number:05d}-{_version(shard)}" for number, shard in enumerate(shards)]
    waiting = [pair for pair in zip(shards, folders, strict=True) if not pair[1].is_dir()]
    if len(waiting) < len(shards):
        log(f"fetch {source}: {len(shards) - len(waiting)} of {len(shards)} shards were finished by an earlier run")
    with task(f"fetch {source}", total=len(waiting), unit="shards") as work:
        if len(waiting) == 1:
            shard, folder = waiting[0]
            make_shard(source, params, network, shard, room.bring(shard), folder)
            work.update()
        elif waiting:
            _make_all(source, params, network, room, waiting, work)
    _require_named(source, params, folders)
    extra: dict[str, Any] = {"files_not_read": dict(sorted(room.not_read.items()))} if room.not_read else {}
    if client.answered and params.kind != "package":  # a package is the same bytes wherever it comes from
        extra["answered_by"] = dict(sorted(client.answered.items()))
    metrics = gather(source, folders, out, extra)
    if not room.streaming:
        shutil.rmtree(place, ignore_errors=True)
    log(
        f"fetch {source}: {metrics['documents_kept']} documents, {metrics['documents_dropped']} quarantined or unfit; "
        f"{client.bytes_received} bytes in {client.requests_sent} requests"
    )
    if metrics["documents_dropped"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in metrics["dropped_by_reason"].items())
        log(f"fetch {source}: dropped: {reasons}")
    if metrics.get("ids_told_apart"):
        log(f"fetch {source}: {metrics['ids_told_apart']} documents have an id that another text has: renamed")
    if metrics["records_skipped"]:
        skipped = counts_of(Counter(metrics["records_skipped"]))
        log(f"fetch {source}: records and members of archives that are no documents: {skipped}")
    if metrics.get("kept_whole"):
        whole = counts_of(Counter(metrics["kept_whole"]))
        log(f"fetch {source}: files without the parts that sources.{source}.unit asks for, kept whole: {whole}")
    if room.not_read:
        log(f"fetch {source}: files not read: {counts_of(room.not_read)}")
    report({"source": source, **metrics})
    return metrics


def _require_named(source: str, params: Source, folders: list[Path]) -> None:
    """Raise UserError for a column or a subset that the params name and no row has."""
    wanted = {"columns": getattr(params, "columns", {}), "subsets": getattr(params, "subsets", [])}
    if not any(wanted.values()):
        return
    found = {name for folder in folders for name in read_json(folder / "metrics.json")["named"]}
    for key, names in wanted.items():
        require_known(names.values() if isinstance(names, dict) else names, found, f"sources.{source}.{key}")


def _list(room: SourceRoom, place: Path, local: bool) -> list[Shard]:
    """The source's shards; of a remote one those that an unfinished run listed, so that it goes on with the same."""
    listing = place / "shards.json"
    if listing.is_file() and not local:
        return [
            Shard(**{**entry, "parts": tuple(tuple(part) for part in entry["parts"])}) for entry in read_json(listing)
        ]
    shards = room.shards()
    write_json(listing, [asdict(shard) for shard in shards])
    listing.chmod(0o600)  # it holds the addresses whole, tokens included
    return shards


def _version(shard: Shard) -> str:
    """A name for the shard as it is now: a local file that has changed meanwhile is read again."""
    stamps = []
    for address in (shard.address, *(part[0] for part in shard.parts)):
        if address and Path(address).exists():
            stat = Path(address).stat()
            stamps.append(f"{stat.st_size}:{stat.st_mtime_ns}")
    return short_hash(shard.name, shard.sha256 or "", *stamps)[:12]


def fingerprint(source: str, params: Source) -> str:
    """Name of the work that these params ask for: finished shards of other params are never taken for these."""
    values = json.dumps([LAYOUT, source, params.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(values.encode()).hexdigest()[:16]


def make_shard(source: str, params: Source, network: Network, shard: Shard, file: Path | None, folder: Path) -> None:
    """Read one shard and write its documents, ledger and metrics.json whole into `folder`."""
    room = open_source(params, Client(network))
    skipped: Counter[str] = Counter()
    with output_folder(folder) as inner:
        with DocumentWriter(inner / "documents") as documents, LedgerWriter(inner / "ledger", "fetch") as ledger:
            records = 0
            for rows, verdicts in _batches(source, params.license, shard, room.records(shard, file, skipped)):
                documents.write_rows(rows)
                ledger.record(verdicts)
                records += len(verdicts)
        check_balance(records, ledger.summary())
        counts = [[*key, count, ledger.sizes[key]] for key, count in sorted(ledger.counts.items())]
        named = sorted(getattr(room, "named", ()))
        write_json(inner / "metrics.json", {"counts": counts, "skipped": skipped, "named": named})


def _batches(
    source: str, license_: str | None, shard: Shard, records: Iterator[Record]
) -> Iterator[tuple[list[dict[str, Any]], list[Row]]]:
    """Rows of documents and of the ledger, a few megabytes at a time."""
    rows: list[dict[str, Any]] = []
    verdicts: list[Row] = []
    seen: dict[str, bytes] = {}
    size = 0
    for record in records:
        row, verdict = _judge(source, license_, shard, record, seen)
        verdicts.append(verdict)
        if row:
            rows.append(row)
            size += len(row["text"])
        if len(verdicts) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield rows, verdicts
            rows, verdicts, size = [], [], 0
    if verdicts:
        yield rows, verdicts


def _judge(
    source: str, license_: str | None, shard: Shard, record: Record, seen: dict[str, bytes]
) -> tuple[dict[str, Any] | None, Row]:
    """The document's row, None where it is dropped, and the ledger's."""
    file = record.file or shard.name
    where: Row = {"source": source, "shard": file, "offset": record.offset}
    if isinstance(record, Rejected):
        key = document_id(source, f"{file}@{record.offset}@{record.reason}")
        return None, {
            **where,
            "id": key,
            "verdict": "dropped",
            "reason": record.reason,
            "bytes": record.size,
            "detail": record.detail and redact(record.detail),
        }
    metadata = record.metadata if record.id is None else {"source_id": record.id, **record.metadata}
    row: dict[str, Any] = {
        "source": source,
        "url": record.url,
        "text": record.text,
        "language": record.language,
        "license": record.license or license_,
        "created": record.created,
        "metadata": json.dumps(metadata, sort_keys=True, ensure_ascii=True, default=as_text),
    }
    row["url"], row["metadata"] = without_secrets(row["url"], row["metadata"])
    row, replaced = _encodable(row)
    data = row["text"].encode()
    size, digest = len(data), hashlib.blake2b(data, digest_size=8).digest()
    name, reason = document_id(source, record.key if record.id is None else record.id), None
    if seen.get(name, digest) != digest:  # one id, several texts: the first keeps it
        name, reason = document_id(source, f"{file}@{record.offset}@{name}"), TOLD_APART
    if name in seen:
        dropped: Row = {"verdict": "dropped", "reason": "repeated_id", "bytes": size, "survivor_id": name}
        return None, {**where, "id": name, **dropped}
    seen[name] = digest
    reason = reason or ("surrogates_replaced" if replaced else record.note)
    verdict: Verdict = "changed" if replaced else "kept"
    return {"id": name, **row}, {**where, "id": name, "verdict": verdict, "reason": reason, "bytes": size}


def _encodable(row: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The row with halves of surrogate pairs, which JSON allows and UTF-8 does not, as `?`; whether there were any."""
    changed = False
    for name, value in row.items():
        try:
            (value or "").encode()
        except UnicodeEncodeError:
            row[name], changed = value.encode("utf-8", "replace").decode("utf-8"), True
    if SURROGATE.search(row["metadata"].encode()):
        values = json.dumps(json.loads(row["metadata"]), sort_keys=True, ensure_ascii=False)
        whole = values.encode("utf-8", "replace").decode("utf-8")
        if whole != values:
            row["metadata"], changed = json.dumps(json.loads(whole), sort_keys=True, ensure_ascii=True), True
    return row, changed


def _make_all(
    source: str,
    params: Source,
    network: Network,
    room: SourceRoom,
    waiting: list[tuple[Shard, Path]],
    work: Any,
) -> None:
    """Bring shards in threads and parse them in processes; the first error stops what has not begun."""
    processes = min(len(waiting), os.cpu_count() or 1)
    context = get_context("forkserver")
    # imported once, not in every worker
    heavy = ["datasets"] if params.kind == "hub" else ["llm_core.corpus.sources.warc"]
    context.set_forkserver_preload(["llm_core.corpus.sources.stage", *heavy])
    with (
        ProcessPoolExecutor(processes, context, end_with, (os.getpid(),)) as parsers,
        ThreadPoolExecutor(min(network.parallel, len(waiting))) as fetchers,
    ):

        def one(shard: Shard, folder: Path) -> None:
            file = room.bring(shard)
            work_ = (source, params, network, shard, file, folder)
            if room.streaming or (file and file.stat().st_size > SMALL_BYTES):
                parsers.submit(make_shard, *work_).result()
            else:
                make_shard(*work_)

        futures = [fetchers.submit(one, shard, folder) for shard, folder in waiting]
        try:
            for future in futures:
                future.result()
                work.update()
        except BaseException:
            fetchers.shutdown(wait=False, cancel_futures=True)
            raise
