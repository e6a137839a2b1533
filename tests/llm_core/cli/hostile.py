"""A folder of malformed files, one for each kind of fault."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

KINDS = {
    "empty": ("empty.jsonl", "empty.parquet", "nothing.txt", "no_rows.parquet"),
    "bytes": ("noise.jsonl", "noise.parquet", "nul.jsonl", "latin.jsonl", "table.csv", "plain.yaml"),
    "cut": ("cut.jsonl", "cut.jsonl.gz", "cut.jsonl.zst", "cut.parquet"),
    "rows": ("array.jsonl", "scalars.jsonl", "types.jsonl", "wrong.jsonl"),
    "columns": ("null.parquet", "nested.parquet"),
    "depth": ("deep.jsonl", "deeper.json", "long.jsonl"),
    "letters": ("surrogate.jsonl", "it's a\nname.jsonl", os.fsdecode(b"caf\xe9.jsonl")),
    "no file": ("folder.jsonl", "nowhere.jsonl", "circle.jsonl", "pipe.jsonl"),
}
"""kind of trouble -> the files that have it"""
TEXT = "a sound document of some words, so that there is something to keep"


def make(folder: Path) -> list[Path]:
    """Write the files into `folder`; their paths (a name that is not UTF-8 as Python's lone surrogates)."""
    import zstandard

    folder.mkdir(parents=True)
    row = json.dumps({"id": "a", "source": "s", "text": TEXT}) + "\n"
    many = "".join(
        json.dumps({"id": f"m{number}", "text": f"{number} {TEXT} {number**9}"}) + "\n" for number in range(500)
    )
    deep = "[" * 10_000 + "]" * 10_000
    files = {
        "empty.jsonl": b"",
        "empty.parquet": b"",
        "noise.jsonl": bytes(number * number % 251 for number in range(5000)),
        "noise.parquet": b"PAR1" + bytes(number * 7 % 256 for number in range(300)) + b"PAR1",
        "nul.jsonl": b"\0" * 1000,
        "latin.jsonl": '{"id": "l", "text": "caf\u00e9 et th\u00e9"}\n'.encode("latin-1"),
        "array.jsonl": b'[{"id": "a", "text": "b"}]\n',
        "scalars.jsonl": b'1\n"text"\nnull\ntrue\nNaN\n',
        "types.jsonl": b'{"id": 1, "text": 2}\n{"id": [1], "text": {"a": 1}, "prompt": null, "messages": 3}\n',
        "wrong.jsonl": b'{"this": "has none of the fields"}\n',
        "deep.jsonl": f'{{"id": "d", "text": "t", "more": {deep}}}\n'.encode(),
        "deeper.json": deep.encode(),
        "surrogate.jsonl": b'{"id": "s", "text": "half \\ud800 a pair", "prompt": "\\udfff"}\n',
        "long.jsonl": json.dumps({"id": "long", "text": "word " * 1_000_000}).encode(),
        "cut.jsonl": row.encode()[:-20],
        "cut.jsonl.gz": gzip.compress(many.encode())[:-500],
        "cut.jsonl.zst": zstandard.compress(many.encode())[:-500],
        "nothing.txt": b"\n\n \n",
        "plain.yaml": b"a: [1\nb: *x\n",
        "table.csv": b'\xff\xfe"a\nb,c\n"",,\n',
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sound = pa.table({"id": ["a", "b"], "source": ["s", "s"], "text": [TEXT, TEXT[2:]]})
    pq.write_table(sound, folder / "cut.parquet")
    os.truncate(folder / "cut.parquet", (folder / "cut.parquet").stat().st_size - 30)
    pq.write_table(pa.table({"id": [None, None], "text": pa.nulls(2)}), folder / "null.parquet")
    pq.write_table(pa.table({"id": [[1], [2]], "text": [{"a": "b"}, {"a": None}]}), folder / "nested.parquet")
    pq.write_table(sound.slice(0, 0), folder / "no_rows.parquet")
    (folder / "it's a\nname.jsonl").write_text(row)
    (folder / os.fsdecode(b"caf\xe9.jsonl")).write_text(row)
    (folder / "folder.jsonl").mkdir()
    (folder / "nowhere.jsonl").symlink_to("there is no such file")
    (folder / "circle.jsonl").symlink_to("circle.jsonl")
    os.mkfifo(folder / "pipe.jsonl")
    return sorted(folder.iterdir())
