"""The index on disk: passages, a BM25 index and dense vectors, all memory-mapped.

Built from folders of documents. The sparse part is built again each time (its statistics are
those of the whole corpus, and it is fast). The dense part, which takes nearly all of the time,
reuses the vectors of passages that the previous index has, so that the cost of added or removed
documents is proportional to their number; the result is the same as that of a new build.
Documents named by a tombstone are left out.

Dense search is exact: a product of the query with every vector, in blocks. At a million
passages of 384 dimensions that is 0.77 GB of float16 (figures in docs/explanation/retrieval.md); above
some millions an approximate index would be faster, but not exact.
"""

from pathlib import Path
from typing import Any, NamedTuple

import bm25s
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from bm25s.stopwords import STOPWORDS_EN
from bm25s.tokenization import Tokenized

from llm_core.corpus import takedowns
from llm_core.errors import UserError, require_known
from llm_core.formats.disk_columns import reserve
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.identity import Identities, id_places
from llm_core.formats.pieces import on_documents
from llm_core.kernels.words import alone, words
from llm_core.params.launch import BatchLaunch
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.encoders import Encoder, encoder_folder
from llm_core.retrieval.passages import SCHEMA, passages, titled
from llm_core.runtime import progress
from llm_core.runtime.digests import content_digest, short_hash
from llm_core.runtime.storage import glob_files, local_files, output_folder, read_json, write_json

VECTOR = np.float16  # half the size of float32; no test found a changed rank
COLUMNS = ["id", "source", "url", "text", "metadata"]


def build(
    inputs: list[str],
    out: Path,
    params: Retrieval,
    tombstones: Path = Path(takedowns.FILE),
    previous: Path | None = None,
    launch: BatchLaunch = BatchLaunch(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Index the documents at `inputs` into the folder `out` and return the metrics.

    `previous` is an index whose vectors may be reused (default: the one at `out`).
    Raises UserError if the documents have no words to search for, or the encoder is not found.
    """
    encoder = _encoder_digest(params.encoder)
    known = _known_vectors(previous or out, encoder)
    removed = takedowns.load(tombstones)
    dropped = 0
    seen: set[str] = set()
    vocabulary: dict[str, int] = {}
    ids: list[list[int]] = []
    part: Part
    with output_folder(out, inputs, stored=True) as folder:
        identities = Identities(folder)
        with progress.task("passages") as work, DocumentWriter(folder / "passages", schema=SCHEMA) as writer:
            keep, shared = ("id", "source"), (params.sources, params.passage_words, params.overlap_words, removed)
            for _, _, batch, part in on_documents(_cut, inputs, COLUMNS, keep, shared, _threads(launch), "index"):
                identities.add(batch["id"])
                seen.update(pc.unique(batch["source"]).to_pylist())
                dropped += part.dropped
                writer.write(part.rows)
                numbers = [vocabulary.setdefault(word, len(vocabulary)) for word in part.words]
                ids += [[numbers[word] for word in row] for row in part.ids]
                work.update(batch.num_rows)
        identities.require_unique(id_places(inputs), "index")
        require_known(params.sources or (), seen, "retrieval.sources")
        if writer.rows == 0:
            raise UserError(f"{', '.join(inputs)}: no text to index")
        if not vocabulary:
            raise UserError(
                f"{', '.join(inputs)}: no word to search for in {writer.rows} passages (English stop words and single "
                "letters are none)"
            )
        sparse = bm25s.BM25(k1=params.k1, b=params.b, method="lucene")
        sparse.index(Tokenized(ids=ids, vocab=vocabulary), show_progress=False)
        sparse.save(str(folder / "bm25"), show_progress=False)
        taken = _embed(folder, _passages(folder), params, known) if params.encoder != "none" else 0
        metrics = {
            "passages": writer.rows,
            "documents_removed": dropped,
            "encoder": params.encoder,
            "encoder_digest": encoder,
        }
        write_json(folder / "metrics.json", metrics)
    progress.log(f"index: {metrics['passages']} passages, {taken} vectors taken from the index before")
    return metrics


class Part(NamedTuple):
    """What a batch of documents gives the index."""

    rows: pa.RecordBatch
    """its passages"""
    dropped: int
    """documents that a tombstone names"""
    words: list[str]
    """the distinct words of its passages, by first appearance"""
    ids: list[list[int]]
    """of each passage the places of its words in `words`"""


def _cut(
    batch: pa.RecordBatch, sources: list[str] | None, words: int, overlap: int, removed: takedowns.Takedowns
) -> Part:
    """Cut a batch of documents (COLUMNS) into passages, and find their words."""
    if sources is not None:
        batch = batch.filter(pc.is_in(batch["source"], pa.array(sources, pa.string())))
    dropped = 0
    if removed:
        kept = [matched is None for matched in removed.match(batch)]
        dropped = len(kept) - sum(kept)
        batch = batch.filter(pa.array(kept))
    (rows,) = passages([batch], words, overlap)
    found = tokenize([titled(row["title"], row["text"]) for row in rows])
    return Part(pa.RecordBatch.from_pylist(rows, schema=SCHEMA), dropped, list(found.vocab), found.ids)


def _threads(launch: BatchLaunch) -> BatchLaunch:
    """One thread on this machine: passages are cut by Python, which runs one at a time."""
    return launch if launch.runner == "ray" else launch.model_copy(update={"workers": 1})


def tokenize(texts: list[str]) -> Any:
    """The words of texts in the form that bm25s takes, without English stop words.

    Single letters are left out in scripts with spaces ("t" of "don't"), and kept where a letter is a word (河).
    """
    vocabulary: dict[str, int] = {}
    ids = [
        [
            vocabulary.setdefault(word, len(vocabulary))
            for word in words(text)
            if (len(word) > 1 or alone(word)) and word not in STOPWORDS_EN
        ]
        for text in texts
    ]
    return Tokenized(ids=ids, vocab=vocabulary)


class Index:
    """An opened index. Raises UserError if `folder` contains none."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "metrics.json").is_file():
            raise UserError(f"{folder}: contains no index; `llm-core index --in DOCUMENTS --out {folder}` makes one")
        self.folder = folder
        self.encoder_name: str = read_json(folder / "metrics.json")["encoder"]
        self.table = _passages(folder)
        self.sparse = bm25s.BM25.load(str(folder / "bm25"), mmap=True, show_progress=False)
        dense = folder / "vectors.npy"
        self.vectors: npt.NDArray[np.float16] | None = np.load(dense, mmap_mode="c") if dense.is_file() else None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def passage(self, number: int) -> dict[str, Any]:
        """The row of SCHEMA of the passage numbered `number`."""
        row: dict[str, Any] = self.table.slice(number, 1).to_pylist()[0]
        return row


def _passages(folder: Path) -> pa.Table:
    """All passages; the files are mapped, and text is decoded a column chunk at a time."""
    return pq.read_table(_passage_files(folder), memory_map=True)


def _passage_files(folder: Path) -> list[str]:
    return local_files(glob_files(folder, "passages/*.parquet"))


def _indexed(table: pa.Table) -> list[str]:
    """Title and text of each passage, which both searches read."""
    pairs = zip(table["title"].to_pylist(), table["text"].to_pylist(), strict=True)
    return [titled(title, text) for title, text in pairs]


def _encoder_digest(name: str) -> str | None:
    """Digest of the encoder's weights: vectors of other weights are not reused."""
    if name == "none":
        return None
    files = sorted(encoder_folder(name).glob("model*.safetensors"))
    if len(files) > 1:
        return short_hash(*map(content_digest, files))
    return content_digest(files[0]) if files else None


def _known_vectors(folder: Path, encoder: str | None) -> tuple[dict[str, int], npt.NDArray[np.float16]] | None:
    """Vectors of an earlier index by passage hash; None if there is no index of that encoder."""
    if not (folder / "vectors.npy").is_file() or read_json(folder / "metrics.json")["encoder_digest"] != encoder:
        return None
    hashes = pq.read_table(_passage_files(folder), columns=["hash"])["hash"].to_pylist()
    return {name: row for row, name in enumerate(hashes)}, np.load(folder / "vectors.npy")


def _embed(
    folder: Path, table: pa.Table, params: Retrieval, known: tuple[dict[str, int], npt.NDArray[np.float16]] | None
) -> int:
    """Write vectors.npy; returns the number of vectors that were reused."""
    hashes, texts = table["hash"].to_pylist(), _indexed(table)
    rows = np.array([known[0].get(name, -1) if known else -1 for name in hashes])
    missing = np.flatnonzero(rows < 0)
    encoder = Encoder(params.encoder) if len(missing) or known is None else None
    width = encoder.dimensions if encoder else known[1].shape[1]  # type: ignore[index]
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype=VECTOR, shape=(len(hashes), width))
    with open(folder / "vectors.npy", "r+b") as file:
        reserve(file.fileno(), 0, vectors.offset + vectors.nbytes, folder)
    if known:
        vectors[rows >= 0] = known[1][rows[rows >= 0]]
    with progress.task("embed", total=len(missing), unit="passages") as work:
        for start in range(0, len(missing), 1024):
            chosen = missing[start : start + 1024]
            if encoder:
                vectors[chosen] = encoder([texts[row] for row in chosen]).astype(VECTOR)
            work.update(len(chosen))
    vectors.flush()
    return int((rows >= 0).sum())
