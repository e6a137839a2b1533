"""The documents of a model and of those it descends from, as one Parquet file.

Pretraining is listed step by step, finetuning row by row; source, address and licence of each
document come from the index of the raw documents.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from llm_core.errors import UserError
from llm_core.lineage import sql
from llm_core.lineage.index import connect, open_index
from llm_core.lineage.training import SCHEMA, documents, finetuning_documents, generations, trainings
from llm_core.runtime.progress import log
from llm_core.runtime.storage import output_file

COLUMNS = pa.schema(
    [
        pa.field("generation", pa.int32()),  # 0: the model itself; 1: what it was made from; ...
        pa.field("model", pa.string()),
        *SCHEMA,  # of pretraining; a finetuning row has the document's id and, if the model records it, the step
        pa.field("row", pa.string()),  # id of the finetuning row that was made from the document, else null
    ]
)
ORDER = "generation, model, step, sequence, start, row, id"


def write_documents(model: Path, out: Path, data: Path, steps: tuple[int, int | None] | None = None) -> int:
    """Write every (model, step, document) and (model, finetuning row, step, document) to the Parquet file `out`.

    With `steps` (first, one past the last) only these of each pretraining's steps are listed, and no finetuning. Sorted
    by ORDER, with the columns of COLUMNS and `license` and `url`, which are null where `data` holds no ledger. Memory
    is bounded: DuckDB sorts on disk. Returns the number of rows. Raises UserError where what a model was trained on
    cannot be determined.
    """
    try:
        known = sql.parquet([open_index(data).folder / "documents.parquet"])
    except UserError as error:
        log(f"without licences and addresses: {error}")
        known = "(SELECT NULL::VARCHAR AS id, NULL::VARCHAR AS source, NULL AS license, NULL AS url WHERE false)"
    with output_file(out, "wb") as stream, TemporaryDirectory(dir=out.parent) as spill, connect() as database:
        database.execute(f"SET temp_directory = {sql.quoted(spill)}")
        failed: list[UserError] = []
        database.register(
            "listing", pa.RecordBatchReader.from_batches(COLUMNS, _noting(_listing(model, steps), failed))
        )
        columns = ", ".join(
            "coalesce(listing.source, known.source) AS source, license, url" if name == "source" else f"listing.{name}"
            for name in COLUMNS.names
        )
        # A finetuning row names no source; it gets the source of its id where only one source has that id.
        sole = f"SELECT id, any_value(source) AS sole FROM {known} GROUP BY id HAVING count(DISTINCT source) = 1"
        query = (
            f"SELECT {columns} FROM listing LEFT JOIN ({sole}) of_id USING (id) "
            f"LEFT JOIN (SELECT DISTINCT ON (id, source) * FROM {known}) known "
            "ON known.id = listing.id AND known.source = coalesce(listing.source, sole)"
        )
        try:
            (count,) = database.execute(
                f"COPY ({query} ORDER BY {ORDER}) TO {sql.quoted(stream.name)} (FORMAT parquet, COMPRESSION zstd)"
            ).fetchone() or (0,)
        except duckdb.Error:
            if failed:
                raise failed[0] from None
            raise
    return int(count)


def _noting(batches: Iterator[pa.RecordBatch], failed: list[UserError]) -> Iterator[pa.RecordBatch]:
    """The batches; a UserError is noted, because DuckDB makes a traceback in an error of its own of it."""
    try:
        yield from batches
    except UserError as error:
        failed.append(error)
        raise


def _listing(model: Path, steps: tuple[int, int | None] | None) -> Iterator[pa.RecordBatch]:
    for generation, record in trainings(model):
        for batch in documents(record, *steps or (0, None)):
            yield _batch(generation, record.model, batch.num_rows, {name: batch[name] for name in SCHEMA.names})
    for generation, folder in generations(model):
        made = {} if steps else finetuning_documents(folder)[1]
        found = [
            (identifier, row, step)
            for identifier, rows in made.items()
            for row, told in rows.items() or [(None, [])]
            for step in told or (None,)
        ]
        if found:
            ids, rows, at = (pa.array(column) for column in zip(*found, strict=True))
            columns = {"id": ids, "row": rows, "step": at.cast(pa.int64())}
            yield _batch(generation, folder, len(found), columns)


def _batch(generation: int, model: Path, count: int, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    constant = {
        "generation": pa.repeat(pa.scalar(generation, pa.int32()), count),
        "model": pa.repeat(str(model), count),
    }
    given = constant | columns
    return pa.RecordBatch.from_arrays(
        [given[field.name] if field.name in given else pa.nulls(count, field.type) for field in COLUMNS], schema=COLUMNS
    )
