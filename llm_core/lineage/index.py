"""The index that answers questions about single documents without a scan.

The ledgers lie in stage and shard order; a question about one document would scan them
all. This index holds the same rows sorted by id as Parquet with small row groups, so that
an id, URL or text hash reads one row group (DuckDB prunes by the footers' min and max; it
sorts beyond memory by spilling), and the text under tantivy for words and phrases.

It is a cache, not an output of the graph: it is in the scratch folder, its key is the digest of the ledgers that it
was built from, and it is rebuilt when they change. Costs, measured: docs/explanation/lineage.md.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import tantivy

from llm_core.corpus.takedowns import text_hash
from llm_core.errors import UserError
from llm_core.formats.urls import host_of, plain_url
from llm_core.lineage import sql
from llm_core.runtime import progress
from llm_core.runtime.manifests import find_shard
from llm_core.runtime.storage import glob_files, local_files, output_folder

VERSION = 2  # version of the index's layout; raise it when the layout changes
STAGES = ("fetch", "extract", "clean", "filter", "dedup", "dedup-text", "decontaminate", "split", "mix")
HASHES = pa.schema([("text_hash", pa.string()), ("id", pa.string())])
URLS = pa.schema([("url", pa.string()), ("host", pa.string()), ("id", pa.string())])
ROW_GROUP = 20_480  # rows; a look-up reads one row group
MEMORY = "1GB"  # memory of a query
SORT = "SET memory_limit = '256MB'; SET threads = 2"  # sorted runs go to disk at any size; a thread needs some 64 MB
WRITER_HEAP = 64 << 20  # tantivy writes a segment when its postings take that much
BATCH_ROWS = 1024
BATCH_BYTES = 8 << 20  # bytes of texts read at once; about five copies of a batch are in memory


class Index:
    """An opened index: the sorted tables through DuckDB, the text through tantivy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = connect()
        self.text = tantivy.Index.open(str(folder / "text"))

    def rows(self, table: str, where: str, values: list[Any], order: str = "") -> list[dict[str, Any]]:
        """Rows of a table (`journeys`, `urls`, `hashes`, `clusters`) as dictionaries."""
        query = f"SELECT * FROM read_parquet(?) WHERE {where}" + (f" ORDER BY {order}" if order else "")
        return rows_of(self.database.sql(query, params=[str(self.folder / f"{table}.parquet"), *values]))


def rows_of(relation: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    """A query's result as dictionaries."""
    found: list[dict[str, Any]] = relation.to_arrow_table().to_pylist()
    return found


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with bounded memory and without a progress bar."""
    database = duckdb.connect()
    database.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
    database.execute("SET enable_progress_bar = false")
    return database


def open_index(data: Path, scratch: Path = Path(".scratch")) -> Index:
    """The index of the ledgers below `data`, built first where it is missing or out of date.

    Raises UserError where `data` contains no ledger.
    """
    ledgers = glob_files(data, "**/ledger/*.parquet")
    documents = glob_files(data, "raw/*/documents/*.parquet")
    if not ledgers:
        raise UserError(f"{data}: contains no ledger; run the pipeline first (dvc repro)")
    folder = scratch / "lineage" / _fingerprint([*ledgers, *documents])
    if not folder.exists():
        with progress.timed(f"lineage index of {len(ledgers)} ledger shards"), output_folder(folder) as out:
            _build(data, ledgers, documents, out)
        for old in folder.parent.iterdir():
            if old != folder and old.is_dir() and not old.name.startswith("."):
                shutil.rmtree(old, ignore_errors=True)
    return Index(folder)


def _fingerprint(files: list[Path]) -> str:
    states = [(str(file), *_state(file)) for file in files]
    return hashlib.blake2b(json.dumps([VERSION, states]).encode(), digest_size=8).hexdigest()


def _state(file: Path) -> tuple[int, int | str]:
    """Size and time of a file, size and digest of a shard on object storage."""
    shard = find_shard(file)
    return (shard.bytes, shard.sha256) if shard else (file.stat().st_size, file.stat().st_mtime_ns)


def _build(data: Path, ledgers: list[Path], documents: list[Path], out: Path) -> None:
    database = connect()
    names = {"local": local_files(ledgers), "ledger": [str(file) for file in ledgers]}
    database.register("names", pa.table(names))
    rows = (
        f"(SELECT * FROM read_parquet({sql.files(sorted(set(names['local'])))}, filename = true) "
        "JOIN names ON filename = local)"
    )
    database.execute(f"{SORT}; SET temp_directory = {sql.quoted(out / 'spill')}")
    stages = ", ".join(f"'{stage}'" for stage in STAGES)
    raw = sql.parquet(local_files(documents))
    _copy(
        database,
        f"SELECT * EXCLUDE (filename, local), coalesce(list_position([{stages}], stage), 99) AS place FROM {rows}",
        out / "journeys.parquet",
        "id, place, ledger",
    )
    _copy(
        database,
        f"SELECT cluster_id, id, source, verdict, score FROM {rows} WHERE cluster_id IS NOT NULL",
        out / "clusters.parquet",
        "cluster_id, id",
    )
    facts = "id, source, url, license, created, metadata"
    _copy(database, f"SELECT {facts} FROM {raw}", out / "documents.parquet", "id")
    _index_urls(database, raw, out)
    _index_text(database, data, documents, out)
    hashes = out / "unsorted.parquet"
    _copy(database, f"SELECT * FROM {sql.parquet([hashes])}", out / "hashes.parquet", "text_hash, id")
    hashes.unlink()


def _copy(database: duckdb.DuckDBPyConnection, query: str, file: Path, order: str) -> None:
    database.execute(
        f"COPY ({query} ORDER BY {order}) TO {sql.quoted(file)} "
        f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
    )


def _index_urls(database: duckdb.DuckDBPyConnection, raw: str, out: Path) -> None:
    """Every document's address in the one spelling (`formats.urls`), sorted by it, and its host."""
    unsorted = out / "unsorted.parquet"
    query = f"SELECT url, id FROM {raw} WHERE url IS NOT NULL"
    with pq.ParquetWriter(unsorted, URLS) as urls:
        for batch in database.sql(query).to_arrow_reader(BATCH_ROWS):
            addresses, ids = (batch.column(name).to_pylist() for name in ("url", "id"))
            columns = {"url": list(map(plain_url, addresses)), "host": list(map(host_of, addresses)), "id": ids}
            urls.write_batch(pa.record_batch(columns, schema=URLS))
    _copy(database, f"SELECT * FROM {sql.parquet([unsorted])}", out / "urls.parquet", "url, id")
    unsorted.unlink()


def _index_text(database: duckdb.DuckDBPyConnection, data: Path, documents: list[Path], out: Path) -> None:
    """Index and hash the text that a person would quote: the cleaned text where there is one, else the raw text."""
    (out / "text").mkdir()
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("text", stored=False, index_option="position")
    writer = tantivy.Index(builder.build(), path=str(out / "text")).writer(heap_size=WRITER_HEAP, num_threads=1)
    raw, clean = local_files(documents), local_files(glob_files(data, "clean/*/documents/*.parquet"))
    query = f"SELECT id, text FROM {sql.parquet(raw)}"
    if clean:
        others = f"SELECT r.id, r.text FROM {sql.parquet(raw)} r ANTI JOIN {sql.parquet(clean)} c ON r.id = c.id"
        query = f"SELECT id, text FROM {sql.parquet(clean)} UNION ALL {others}"
    footers = f"parquet_metadata({sql.files([*raw, *clean])})"
    ((longest,),) = database.sql(
        f"SELECT max(row_group_bytes / nullif(row_group_num_rows, 0)) FROM {footers}"
    ).fetchall()  # bytes a row, on the average of a row group
    rows = max(1, min(BATCH_ROWS, int(BATCH_BYTES / (longest or 1))))
    with progress.task("text index") as work, pq.ParquetWriter(out / "unsorted.parquet", HASHES) as hashes:
        for batch in database.sql(query).to_arrow_reader(rows):
            ids, texts = (batch.column(name).to_pylist() for name in ("id", "text"))
            for identifier, text in zip(ids, texts, strict=True):
                writer.add_document(tantivy.Document(id=identifier, text=text))
            hashes.write_batch(pa.record_batch({"text_hash": list(map(text_hash, texts)), "id": ids}, schema=HASHES))
            work.update(batch.num_rows)
    writer.commit()
    writer.wait_merging_threads()
