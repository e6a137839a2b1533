"""Which removed documents have left text in a file, of whatever kind.

A file is read by its content, not by its name: tables (Parquet, Arrow) row by row, token shards as the text that their
tokens decode to, archives member by member, compressed files decompressed, everything else as text. Memory stays
bounded, and a file whose content was seen under another name (most of DVC's cache) is not read again.
"""

import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.ipc

from llm_core.errors import UserError
from llm_core.formats.parquet import STRINGS, bounded_batches, column_values, open_parquet
from llm_core.lineage.traces import Traces
from llm_core.runtime.digests import file_digest
from llm_core.runtime.inputs import open_input
from llm_core.runtime.storage import local_file
from llm_core.tokenization.layout import Vocabulary

CHUNK = 4 << 20
OVERLAP = 64 << 10
DEPTH = 3  # maximum depth of archives inside archives
COMPRESSED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
KEYS = ("id", "document_id")  # columns that name the document that a row was made from
OTHER_TOKENIZER = "token shards of a tokenizer that is not here; only their ids were compared"
UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, pa.ArrowException, zipfile.BadZipFile, sqlite3.Error)
Found = frozenset[str]


@dataclass
class Leftovers:
    """Searches files, and remembers the result by content. Use it after `Traces` has learned everything."""

    traces: Traces
    tokenizers: Mapping[str, Path] = field(default_factory=dict)
    """digest of tokenizer.json -> its folder, to read token shards as text"""
    undecoded: list[Path] = field(default_factory=list)
    """token shards whose texts could not be compared, because their tokenizer is not here"""

    def __post_init__(self) -> None:
        self._by_inode: dict[tuple[int, int], Found] = {}
        self._by_size: dict[int, list[tuple[Path, Found]]] = {}
        self._digests: dict[Path, str] = {}
        self._spelled: dict[str, list[bytes] | None] = {}

    def __call__(self, file: Path) -> Found:
        """Ids of the removed documents that have left text in a file. Raises UserError where it cannot be read."""
        try:
            status = local_file(file).stat()
            inode = (status.st_dev, status.st_ino)
            if inode not in self._by_inode:
                self._by_inode[inode] = self._of_content(file, status.st_size)
            return self._by_inode[inode]
        except UNREADABLE as error:
            # zipfile raises RuntimeError for a password and NotImplementedError for an unknown compression
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{file}: cannot be read ({reason[:200]})") from None

    def _of_content(self, file: Path, size: int) -> Found:
        same = self._by_size.setdefault(size, [])
        for other, found in same:
            if self._digest(other) == self._digest(file):
                return found
        found = frozenset(self._read(file))
        same.append((file, found))
        return found

    def _digest(self, file: Path) -> str:
        if file not in self._digests:
            self._digests[file] = file_digest(local_file(file), "blake2b")
        return self._digests[file]

    def _read(self, file: Path) -> set[str]:
        local = local_file(file)
        with open(local, "rb") as stream:
            begin = stream.read(8)
        if begin.startswith(b"PAR1"):
            return self._parquet(file, str(file))
        if begin == b"SQLite f":
            return self._database(file)
        for magic, ending in COMPRESSED.items():
            if begin.startswith(magic):
                with open_input(file, f"{file}{ending}") as stream:
                    return self._text(stream)
        with open(local, "rb") as stream:
            return self._stream(stream, file)

    def _stream(self, stream: IO[bytes], file: Path, depth: int = 0) -> set[str]:
        begin = stream.read(8)
        stream.seek(0)
        if begin.startswith(b"\xff\xff\xff\xff"):
            return self._arrow(pa.ipc.open_stream(stream), file)
        if begin.startswith(b"ARROW1"):
            table = pa.ipc.open_file(stream)
            return self._arrow((table.get_batch(number) for number in range(table.num_record_batches)), file)
        if begin.startswith(b"PK\x03\x04") and depth < DEPTH:
            return self._archive(stream, file, depth)
        return self._text(stream)

    def _database(self, file: Path) -> set[str]:
        """Every text in every table of a SQLite file: MLflow's traces have what models and tools read and wrote."""
        found: set[str] = set()
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as database:
            database.text_factory = bytes
            names = [name.decode() for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            for table in names:
                for _, column, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                    values = f'SELECT "{column.decode()}" FROM "{table}" WHERE typeof("{column.decode()}") IN (?, ?)'
                    for (value,) in database.execute(values, ("text", "blob")):
                        found |= self.traces.in_text(value)
        return found

    def _archive(self, stream: IO[bytes], file: Path, depth: int) -> set[str]:
        found: set[str] = set()
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                with archive.open(member) as inner:
                    begin = inner.read(4)
                with archive.open(member) as inner:
                    if begin in (b"PK\x03\x04", b"\xff\xff\xff\xff", b"ARRO"):
                        found |= self._stream(io.BytesIO(inner.read()), file, depth + 1)
                    else:
                        found |= self._text(inner)
        return found

    def _text(self, stream: IO[bytes]) -> set[str]:
        found: set[str] = set()
        rest = b""
        while data := stream.read(CHUNK):
            found |= self.traces.in_text(rest + data)
            rest = data[-OVERLAP:]  # so that no text is cut in two
        return found

    def _parquet(self, file: Path, name: str) -> set[str]:
        with open_parquet(file, dictionaries=True) as table:
            wanted = [field.name for field in table.schema_arrow if _holds_text(field.type)]
            if _is_documents(table.schema_arrow.names):
                wanted = [column for column in wanted if column in (*KEYS, "url", "text")]
            batches = bounded_batches(table, name, wanted) if wanted else iter(())
            return {found for batch in batches for found in self._batch(batch)}

    def _arrow(self, batches: Any, file: Path) -> set[str]:
        found: set[str] = set()
        for batch in batches:
            found |= self._batch(batch)
            if "input_ids" in batch.schema.names:
                found |= self._tokens(batch, file)
        return found

    def _batch(self, batch: pa.RecordBatch) -> set[str]:
        """Documents that rows of a table contain: by id, address and whole text; in other tables, as running text."""
        names = batch.schema.names
        keys = [[str(value) for value in column_values(batch.column(name))] for name in KEYS if name in names]
        found = {value for column in keys for value in column if value in self.traces.ids}
        labels = keys[0] if keys else ["a row"] * batch.num_rows
        if "url" in names and _holds_text(batch.schema.field("url").type):
            rows = pa.record_batch(
                {"id": pa.nulls(batch.num_rows, pa.string()), "url": batch.column("url").cast(pa.large_string())}
            )
            found |= {labels[row] for row, how in enumerate(self.traces.tombstones.match_names(rows)) if how}
        if _is_documents(names) and not pa.types.is_nested(batch.schema.field("text").type):
            for row, text in enumerate(batch.column("text").cast(pa.large_binary()).to_pylist()):
                if text and self.traces.in_document(text):
                    found.add(labels[row])
            return found
        for column_field in batch.schema:
            if column_field.name not in (*KEYS, "url") and _holds_text(column_field.type):
                found |= self._column(batch.column(column_field.name))
        return found

    def _column(self, column: pa.Array) -> set[str]:
        values = [value for value in column_values(column) if value is not None]
        texts = [value if isinstance(value, str) else json.dumps(value, default=str) for value in values]
        return self.traces.in_text("\n".join(texts).encode("utf-8", "replace"))

    def _tokens(self, batch: pa.RecordBatch, file: Path) -> set[str]:
        """Documents of a token shard, by the texts that the tokens decode to."""
        digest = (batch.schema.metadata or {}).get(b"tokenizer", b"").decode()
        if digest not in self._spelled:
            self._spelled[digest] = _spelled(self.tokenizers[digest]) if digest in self.tokenizers else None
        spelled = self._spelled[digest]
        if spelled is None:
            self.undecoded += [file] if file not in self.undecoded else []
            return set()
        found = set()
        for row, tokens in enumerate(batch.column("input_ids")):
            text = b"".join([spelled[token] for token in tokens.values.to_numpy().tolist()])
            if self.traces.in_document(text):
                found.add(str(batch.column("id")[row]))
        return found


def files_below(folder: Path, skipped: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Every regular file below a folder, in order, linked folders too (each once); `skipped` are names of folders."""
    seen: set[tuple[int, int]] = set()

    def walk(here: Path) -> Iterator[Path]:
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        for path in sorted(here.iterdir()):
            if path.is_dir():
                yield from walk(path) if path.name not in skipped else ()
            elif path.is_file():
                yield path

    if folder.is_dir():
        yield from walk(folder)


def tokenizers_below(folder: Path) -> dict[str, Path]:
    """Digest of each tokenizer.json below a folder -> the folder that holds it, as token shards name theirs."""
    return {file_digest(file): file.parent for file in files_below(folder) if file.name == "tokenizer.json"}


def _spelled(folder: Path) -> list[bytes] | None:
    """The bytes of each token of a tokenizer, empty for special tokens; None for a tokenizer of another kind."""
    try:
        vocabulary = Vocabulary(folder)
    except UserError:
        return None
    spelled = [b""] * (max([vocabulary.size, *vocabulary.tokens.values()]) + 1)
    for token, number in vocabulary.tokens.items():
        spelled[number] = token
    return spelled


def _is_documents(names: list[str]) -> bool:
    """Whether a table's rows are documents; a passage or a finetuning row names the document that it was made from."""
    return "text" in names and "document_id" not in names


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_holds_text(kind.field(number).type) for number in range(kind.num_fields))
    return any(is_kind(kind) for is_kind in STRINGS)
