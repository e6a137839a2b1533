"""`llm-core extract`: WARC, WET and WAT files to documents of plain text.

The only place where the WARC reader of `sources` and the extraction of `cleaning` meet; in the graph they are
two stages, `download` and `clean`, with the pages as HTML between them.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, option, read_params, verb_app

if TYPE_CHECKING:
    from llm_core.corpus.cleaning.batch import Batch
    from llm_core.formats.pieces import Piece

app = verb_app()
BATCH_RECORDS = 256


@app.command()
def extract(
    inputs: Annotated[list[str], option("--in", "WARC, WET and WAT files, or folders of them. Repeatable.")],
    out: Out,
    source: Annotated[str, typer.Option(help="Name that the documents carry in `source`.")] = "web",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Read WARC records and extract their text; write documents, a ledger row for every page, and metrics.json."""

    from llm_core.corpus.cleaning.stage import clean
    from llm_core.corpus.sources.files import WARC
    from llm_core.errors import UserError
    from llm_core.formats.pieces import Piece
    from llm_core.runtime.storage import file_system, list_files

    params = read_params(params_file, overrides)
    files = list(dict.fromkeys(file for path in inputs for file in list_files(path, WARC)))
    if not files:
        raise UserError(f"{', '.join(inputs)}: holds no WARC file ({', '.join(WARC)})")
    sizes = [file_system(file)[0].size(file_system(file)[1]) or 0 for file in files]
    pieces = [Piece(file, size=size) for file, size in zip(files, sizes, strict=True)]
    reader, sources = partial(read_piece, source), list(params.sources)
    clean(inputs, out, params.cleaning, ["extract"], "extract", pieces, reader, sources, params.launch.cleaning)


def read_piece(source: str, piece: "Piece") -> "Iterator[Batch]":
    """Stream a WARC file's pages as batches; records that cannot be used are in them, already dropped."""
    from llm_core.corpus.sources.base import broken_file, or_empty
    from llm_core.corpus.sources.warc import read_warc
    from llm_core.runtime.inputs import BrokenInputError, open_unchanged
    from llm_core.runtime.progress import log

    skipped: Counter[str] = Counter()
    records: list = []
    try:
        with open_unchanged(piece.file) as stream:
            for record in or_empty(read_warc(stream, piece.file, skipped), skipped):
                records.append(record)
                if len(records) == BATCH_RECORDS:
                    yield _batch(records, source, piece.file)
                    records = []
    except (BrokenInputError, OSError) as error:  # one broken file does not stop the others
        records.append(broken_file(error))
    if records:
        yield _batch(records, source, piece.file)
    if skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
        log(f"{piece.file}: records that are no pages by their kind: {kinds}")


def _batch(records: list, source: str, file: str) -> "Batch":
    """Documents and rejected records as one batch."""
    import json

    from llm_core.corpus.cleaning.batch import from_columns
    from llm_core.corpus.sources.base import Document
    from llm_core.formats.documents import document_id

    rows: list[list] = []
    for record in records:
        if isinstance(record, Document):
            metadata = json.dumps(record.metadata, sort_keys=True, ensure_ascii=True)
            key = document_id(source, record.key)
            rows.append([key, source, record.url, record.text, None, None, record.created, metadata])
        else:
            key = document_id(source, f"{file}@{record.offset}@{record.reason}")
            rows.append([key, source, None, "", None, None, None, None])
    columns = [list(column) for column in zip(*rows, strict=True)]
    batch = from_columns(columns, file, [record.offset for record in records])
    for row, record in enumerate(records):
        if not isinstance(record, Document):
            batch.drop(row, record.reason)
            batch.sizes[row] = record.size
    return batch
