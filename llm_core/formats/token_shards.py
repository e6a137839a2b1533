"""Token shards: encoded documents as memory-mapped Arrow files.

One row a document: `id`, `source`, `bytes` (UTF-8 length of its text, the denominator of
bits per byte) and `input_ids` (bos + ids + eos), uint16 where the vocabulary allows, else
uint32. The *streaming* Arrow format, because `datasets.Dataset.from_file` opens no other
(5.2); pyarrow reads it with `pa.ipc.open_stream`, polars with `read_ipc_stream`, pandas
through `.read_pandas()` of pyarrow. `source` is a plain string: datasets refuses dictionaries.

Readers touch only the pages they need: the ids of a record batch are one numpy view of the
mapped file, and the offsets another; nothing is copied on opening.
"""

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.errors import UserError
from llm_core.runtime.storage import glob_files, local_file, local_files

SHARD_TOKENS = 1 << 26  # 128 MB of uint16
BATCH_TOKENS = 1 << 23  # a record batch: 16 MB of uint16 held while writing


def token_schema(vocab_size: int, tokenizer_digest: str = "") -> pa.Schema:
    """Arrow schema of token shards for a vocabulary of `vocab_size`."""
    width = pa.uint16() if vocab_size <= 1 << 16 else pa.uint32()
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("input_ids", pa.list_(pa.field("item", width, nullable=False)), nullable=False),
        ],
        metadata={"vocab_size": str(vocab_size), "tokenizer": tokenizer_digest},
    )


class TokenWriter:
    """Writes encoded documents as numbered shards; the same rows give the same bytes, however batched.

    As in `documents.DocumentWriter`, a document's id decides whether a shard past half its size ends behind
    it, so that a takedown changes the document's own shard and the few behind it until a boundary falls
    where it fell before, not all.
    Use as a context manager inside `storage.output_folder`. No rows at all give one empty shard.
    """

    def __init__(self, folder: str | Path, schema: pa.Schema, shard_tokens: int = SHARD_TOKENS) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.schema, self.shard_tokens = schema, shard_tokens
        self.batch_tokens = min(BATCH_TOKENS, shard_tokens)
        self.rows = self.tokens = self.shards = 0
        self._pending: list[pa.RecordBatch] = []
        self._pending_tokens = self._shard_size = 0
        self._writer: pa.RecordBatchStreamWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append `batch`, which has the columns of the schema in its order."""
        if not batch.num_rows:
            return
        lengths = np.diff(batch.column("input_ids").offsets.to_numpy())
        total, start = int(lengths.sum()), 0
        self.rows += batch.num_rows
        self.tokens += total
        if self._pending_tokens + total < self.batch_tokens and 2 * (self._shard_size + total) < self.shard_tokens:
            self._pending_tokens += total  # nothing ends here
            self._shard_size += total
            self._pending.append(batch)
            return
        for row, (length, name) in enumerate(zip(lengths.tolist(), batch.column("id").to_pylist(), strict=True)):
            self._pending_tokens += length
            self._shard_size += length
            # A boundary is as likely as the document is long, so that shards average `shard_tokens`.
            full = self._shard_size * 2 >= self.shard_tokens and (
                self._shard_size >= 2 * self.shard_tokens
                or zlib.crc32(name.encode()) * self.shard_tokens < length << 33
            )
            if full or self._pending_tokens >= self.batch_tokens:
                self._pending.append(batch.slice(start, row + 1 - start))
                self._flush()
                start = row + 1
            if full:
                self._close()
        if start < batch.num_rows:
            self._pending.append(batch.slice(start))

    def close(self) -> None:
        """Write what is pending and close the last shard."""
        self._flush()
        if self.shards == 0:
            self._open()
        self._close()

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self._close()

    def _flush(self) -> None:
        if not self._pending:
            return
        writer = self._writer or self._open()
        writer.write_batch(pa.concat_batches(self._pending).replace_schema_metadata(self.schema.metadata))
        self._pending, self._pending_tokens = [], 0

    def _open(self) -> pa.RecordBatchStreamWriter:
        self._writer = pa.ipc.new_stream(str(self.folder / f"{self.shards:05d}.arrow"), self.schema)
        self.shards += 1
        return self._writer

    def _close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None
        self._shard_size = 0


def count_shards(folder: Path) -> tuple[int, int]:
    """Documents and tokens of a folder of shards, as the files have them, one file at a time."""
    documents = tokens = 0
    for file in glob_files(folder, "*.arrow"):
        for batch in open_shard(file)[1]:
            offsets = batch.column("input_ids").offsets
            documents += batch.num_rows
            tokens += offsets[-1].as_py() - offsets[0].as_py()
    return documents, tokens


class TokenShards:
    """The encoded documents of a folder of shards, numbered 0 to `len - 1` in file order.

    Attributes: `files`; `starts` int64 [documents + 1], position of each document in the whole token
    stream (8 bytes a document, the only thing held in memory); `tokens` their sum; `dtype` of the ids.
    Raises UserError where the folder holds no shards, a file is not one, or files are of different tokenizers.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.files = glob_files(self.folder, "*.arrow")
        if not self.files:
            raise UserError(f"{folder}: holds no token shards (*.arrow); `llm-core tokenize` writes them")
        local_files(self.files)  # fetched some at a time
        self._batches: list[pa.RecordBatch] = []
        self._values: list[npt.NDArray[np.unsignedinteger]] = []
        self.schema: pa.Schema = open_shard(self.files[0])[0]
        for file in self.files:
            schema, batches = open_shard(file)
            if not schema.equals(self.schema, check_metadata=True):
                raise UserError(
                    f"{file}: was encoded otherwise than {self.files[0].name} (another tokenizer or another type of "
                    "ids); encode all documents of the folder at once with `llm-core tokenize`"
                )
            self._batches += [batch for batch in batches if batch.num_rows]
        counts = [batch.num_rows for batch in self._batches]
        self._first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        self.starts: npt.NDArray[np.int64] = np.zeros(int(self._first[-1]) + 1, np.int64)
        for first, batch in zip(self._first[:-1].tolist(), self._batches, strict=True):
            column = batch.column("input_ids")
            self._values.append(column.values.to_numpy(zero_copy_only=True))
            self.starts[first + 1 : first + 1 + len(batch)] = np.diff(column.offsets.to_numpy())
        np.cumsum(self.starts, out=self.starts)
        self.tokens = int(self.starts[-1])
        self.dtype = self.schema.field("input_ids").type.value_type.to_pandas_dtype()
        self.vocab_size = int((self.schema.metadata or {}).get(b"vocab_size", 0))
        self.tokenizer = (self.schema.metadata or {}).get(b"tokenizer", b"").decode()

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document, bos and eos included: int64 [documents]."""
        return np.diff(self.starts)

    def lengths_of(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tokens of the documents numbered: int64, of the same shape."""
        return self.starts[documents + 1] - self.starts[documents]

    def fingerprint(self) -> str:
        """Digest of what the shards hold: each document's length, id and the tokenizer (not the ids themselves)."""
        digest = hashlib.blake2b(self.starts.tobytes(), digest_size=16)
        digest.update(self.tokenizer.encode())
        for batch in self._batches:
            for buffer in batch.column("id").buffers()[1:]:
                digest.update(buffer or b"")
        return digest.hexdigest()

    def ids(self, document: int, start: int = 0, stop: int | None = None) -> npt.NDArray[np.unsignedinteger]:
        """Token ids `start` to `stop` of a document: a view of the mapped file, cut at the document's end."""
        begin, end = int(self.starts[document]), int(self.starts[document + 1])
        number = int(np.searchsorted(self._first, document, side="right")) - 1
        offset = int(self.starts[self._first[number]])
        stop = end if stop is None else min(begin + stop, end)
        return self._values[number][begin + start - offset : stop - offset]

    def id(self, document: int) -> str:
        """The document's id, the one it had in the corpus."""
        return str(self._cell("id", document))

    def source(self, document: int) -> str:
        """The source the document came from."""
        return str(self._cell("source", document))

    def sources(self) -> tuple[list[str], npt.NDArray[np.int32]]:
        """(names of the sources, sorted; for each document the place of its source among them: int32 [documents])."""
        columns = [batch.column("source").dictionary_encode() for batch in self._batches]
        names = sorted({name for column in columns for name in column.dictionary.to_pylist()})
        place = {name: number for number, name in enumerate(names)}
        codes = [
            np.array([place[name] for name in column.dictionary.to_pylist()], np.int32)[column.indices.to_numpy()]
            for column in columns
        ]
        return names, np.concatenate([np.zeros(0, np.int32), *codes])

    def column(self, name: str, documents: Iterable[int] | None = None) -> list[object]:
        """Values of `id`, `source` or `bytes`, for all documents or for those numbered."""
        if documents is None:
            return [value for batch in self._batches for value in batch.column(name).to_pylist()]
        return [self._cell(name, document) for document in documents]

    def _cell(self, name: str, document: int) -> object:
        if not 0 <= document < len(self):
            raise IndexError(f"document {document} of {len(self)}")
        number = int(np.searchsorted(self._first, document, side="right")) - 1
        return self._batches[number].column(name)[document - int(self._first[number])].as_py()


def open_shard(file: Path) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """Schema and record batches of a shard, mapped. Raises UserError where it is none, or its lengths are not so."""
    local = local_file(file, held=True)
    try:
        reader = pa.ipc.open_stream(pa.memory_map(str(local)))
        batches = list(reader)
        for batch in batches:
            batch.validate(full=True)  # offsets that lead out of the file would end the process
        _check(file, reader.schema)
    except (pa.ArrowException, OSError, ValueError) as error:  # a damaged name or number among them
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file}: not an Arrow stream of tokens ({first})") from None
    return reader.schema, batches


def _check(file: Path, schema: pa.Schema) -> None:
    """Raise UserError, or ValueError, where a schema is not that of tokens."""
    missing = {"id", "source", "bytes", "input_ids"} - set(schema.names)
    if missing:
        raise UserError(f"{file}: lacks the column(s) {', '.join(sorted(missing))}; encode it again")
    types = [field.type for field in schema]
    if types not in ([field.type for field in token_schema(size)] for size in (1, 1 << 17)):
        raise UserError(f"{file}: its columns are of other types than those of tokens; encode it again")
    metadata = schema.metadata or {}
    if int(metadata.get(b"vocab_size", 0)) < 0 or not metadata.get(b"tokenizer", b"").decode().isprintable():
        raise ValueError("its vocabulary or tokenizer is none")
