"""The columns of a document, the ids of documents, and how values of any type become a column's text."""

import base64
import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_core.runtime.digests import short_hash
from llm_core.runtime.json_lines import is_too_deep
from llm_core.runtime.redaction import redact_page, redact_values
from llm_core.runtime.storage import is_remote

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("license", pa.string()),
        pa.field("created", pa.string()),
        pa.field("metadata", pa.string()),
    ]
)
MEANINGS = {
    "id": "Stable id of the document: 32 hexadecimal digits where the project makes it, else the file's own.",
    "source": "The key under `sources` in params.yaml.",
    "url": "Address of the document, without passwords and tokens.",
    "text": "The text of the document.",
    "language": "ISO 639-1 code; empty where nobody has looked.",
    "license": "SPDX id of its licence, or public-domain.",
    "created": "Date or time of the text by ISO 8601, or of the crawl.",
    "metadata": "A JSON object with what else the source says.",
}
"""what each column holds; Dagster shows it"""
COLUMNS = frozenset(SCHEMA.names)


def document_id(source: str, key: str) -> str:
    """Stable id of a document: a 128-bit hash of its source's name and its key there."""
    return short_hash(source, key)


def row_id(file: str, row: int) -> str:
    """Id of a row that brings none: made of the file's path and the row's number in it.

    A path below the working folder counts from there, so that a project may be moved; any other path counts whole.
    """
    path = file
    if not is_remote(file):
        path = os.path.relpath(file) if Path(file).absolute().is_relative_to(Path.cwd()) else str(Path(file).absolute())
    return document_id(path, str(row))


def source_of(file: str) -> str:
    """Name of the source of rows that name none: the file's name up to its first dot."""
    return file.rpartition("/")[2].split(".")[0]


def read_metadata(text: str | None) -> dict[str, Any]:
    """A document's metadata as a dictionary; {} where there is none, or no JSON object, or one nested too deep."""
    if not text or is_too_deep(text.encode("utf-8", "replace")):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def without_secrets(url: str | None, metadata: str | None) -> tuple[str | None, str | None]:
    """A document's URL and metadata without passwords and tokens in addresses; what has none is returned as it is."""
    url = url and redact_page(url)
    if metadata and (shown := redact_page(metadata)) != metadata:  # on the text of the JSON: only a first look
        values = read_metadata(metadata)
        metadata = json.dumps(redact_values(values, redact_page), sort_keys=True) if values else shown
    return url, metadata


def as_text(value: Any) -> str | None:
    """A value as a column of strings holds it, the same from Parquet and from JSON.

    None stays None, a string itself, a date or time is written by ISO 8601, a list of one value is that value, other
    lists and objects are written as JSON with sorted keys.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple) and len(value) == 1:
        return as_text(value[0])
    if isinstance(value, Mapping | list | tuple):
        return as_json(value)
    return str(value)


def as_json(value: Any) -> str:
    """Lists and objects as JSON with sorted keys; dates by ISO 8601, bytes that are no UTF-8 in base 64."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return as_text(value) or ""
