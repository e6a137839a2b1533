"""What a removed document may have left in a file of any kind: its id, its address, its text or an edited copy of it.

A file is read by what it is, not by its name: tables (Parquet, Arrow) row by row, held against every tombstone;
archives member by member; everything else as text, in which ids and runs of 13 words are looked for. Runs that a
document which stays holds too (licences, menus) prove nothing and are left out. What is told is which documents.
"""

import bz2
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import zstandard

from llm_core.corpus.similarity.word_hashes import Hashes, WordHasher, ngrams
from llm_core.corpus.takedowns import Takedowns

RUN = 13  # words; the measure of decontamination, since GPT-3
TOUCHED = 8  # of a sketch's 128 hashes in one file, where the text itself is no longer at hand
CHUNK = 4 << 20
OVERLAP = 64 << 10
TOKEN = re.compile(rb"[^\s\"'<>\\,;(){}\[\]|`#]+")  # what ids and addresses are made of
WEIGHTS = (".safetensors", ".bin", ".pt", ".npy", ".npz", ".u64", ".i64", ".lock", ".db", ".sqlite")
PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda raw: zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(
        raw, read_across_frames=True
    ),
}


class Traces:
    """What is looked for: the tombstones, and the ids and texts of the documents that they named."""

    def __init__(self, tombstones: Takedowns) -> None:
        self.tombstones = tombstones
        self.ids: set[str] = set(tombstones.values["id"])
        self.dropped: set[str] = set()
        """ids that a ledger says left by takedown"""
        self._hasher = WordHasher()
        self._texts: dict[str, Hashes] = {}
        self._names: list[str] = []
        self._encoded: set[bytes] = set()
        self._grams: Hashes = np.zeros(0, np.uint64)
        self._owners: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def learn(self, identifier: str, text: str) -> None:
        """Note a document that a tombstone names: its id, and its text where it is still at hand."""
        self.ids.add(identifier)
        runs = self._runs(text)
        if len(runs):
            self._texts[identifier] = np.union1d(self._texts.get(identifier, runs), runs)

    def forget_common(self, texts: Iterable[str]) -> None:
        """Leave out the runs of words that documents which stay hold too. Call it after the last `learn`."""
        self._names = list(self._texts)
        self._grams = np.concatenate([np.zeros(0, np.uint64), *self._texts.values()])
        self._owners = np.repeat(np.arange(len(self._names)), [len(runs) for runs in self._texts.values()])
        self._encoded = {name.encode("utf-8", "surrogatepass") for name in self.ids}
        order = np.argsort(self._grams, kind="stable")
        self._grams, self._owners = self._grams[order], self._owners[order]
        held = np.zeros(len(self._grams), np.bool_)
        for text in texts:
            runs = np.unique(self._runs(text))
            held[np.isin(self._grams, runs)] = True
        self._grams, self._owners = self._grams[~held], self._owners[~held]

    def in_batch(self, batch: pa.RecordBatch) -> set[str]:
        """Documents that rows of a table hold: by `id` or `document_id`, `url`, and `text` as a whole."""
        names = batch.schema.names
        key = next((name for name in ("id", "document_id") if name in names), None)
        ids = [str(value) for value in batch.column(key).to_pylist()] if key else [""] * batch.num_rows
        given = {
            name: batch.column(name).cast(kind) if name in names else pa.nulls(batch.num_rows, kind)
            for name, kind in (("url", pa.string()), ("text", pa.large_string()))
        }
        rows = pa.RecordBatch.from_pydict({"id": pa.array(ids, pa.string()), **given})
        found = {ids[row] or "a row" for row, how in enumerate(self.tombstones.match(rows)) if how}
        others = [batch.column(name).to_pylist() for name in ("id", "document_id") if name in names]
        return found | {str(value) for column in others for value in column if str(value) in self.ids}

    def in_text(self, data: bytes) -> set[str]:
        """Documents of which a piece of text holds the id, or a run of words of their own."""
        found = {name.decode("utf-8", "replace") for name in self._encoded.intersection(TOKEN.findall(data))}
        text = data.decode("utf-8", "ignore").replace("\\n", " ").replace("\\t", " ").replace('\\"', '"')
        if len(self._grams):
            runs = ngrams(self._hasher(text), RUN)
            place = np.minimum(np.searchsorted(self._grams, runs), len(self._grams) - 1)
            hits = np.isin(self._grams, runs[self._grams[place] == runs])
            found |= {self._names[owner] for owner in np.unique(self._owners[hits]).tolist()}
        touched = (self._name(number) for number in self.tombstones.touched(text, TOUCHED))
        return found | {name for name in touched if name not in self._texts}

    def _name(self, number: int) -> str:
        row = self.tombstones.rows[number]
        return str(row.get("id") or row.get("text_hash"))

    def _runs(self, text: str) -> Hashes:
        words = self._hasher(text)
        return ngrams(words, RUN) if len(words) >= RUN else np.zeros(0, np.uint64)


def documents_in(file: Path, traces: Traces) -> set[str]:
    """The removed documents (ids) that a file holds something of; empty for weights and for what cannot be read."""
    if file.name.endswith(WEIGHTS):
        return set()
    try:
        with open(file, "rb") as stream:
            return _in_stream(stream, traces, file)
    except (OSError, EOFError, pa.ArrowInvalid, zipfile.BadZipFile, zstandard.ZstdError, lzma.LZMAError):
        return set()


def _in_stream(stream: IO[bytes], traces: Traces, file: Path | None, depth: int = 0) -> set[str]:
    begin = stream.read(8)
    stream.seek(0)
    if file and begin.startswith(b"PAR1"):
        with pq.ParquetFile(file) as table:
            wanted = [name for name in ("id", "document_id", "url", "text") if name in table.schema_arrow.names]
            batches = table.iter_batches(1024, columns=wanted) if wanted else iter(())
            return {name for batch in batches for name in traces.in_batch(batch)}
    if file and begin.startswith(b"\xff\xff\xff\xff"):
        reader = pa.ipc.open_stream(pa.memory_map(str(file)))
        return {name for batch in reader for name in traces.in_batch(batch)}
    if begin.startswith(b"PK\x03\x04") and depth < 3:
        with zipfile.ZipFile(stream) as archive:
            members = (archive.read(member) for member in archive.infolist() if not member.is_dir())
            return {name for data in members for name in _in_stream(io.BytesIO(data), traces, None, depth + 1)}
    for magic, unpack in PACKED.items():
        if begin.startswith(magic) and depth < 3:
            return {name for data in _chunks(unpack(stream)) for name in traces.in_text(data)}
    return {name for data in _chunks(stream) for name in traces.in_text(data)}


def _chunks(stream: Any) -> Iterator[bytes]:
    """The stream in pieces that overlap, so that nothing is cut in two."""
    rest = b""
    while data := stream.read(CHUNK):
        yield rest + data
        rest = data[-OVERLAP:]
