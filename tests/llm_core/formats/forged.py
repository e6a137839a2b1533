"""Files whose bytes claim lengths that are not so, read in a process that may not grow by more than a gigabyte.

python -m tests.llm_core.formats.forged FOLDER      prints a JSON line for each file: name, outcome, megabytes
"""

import io
import json
import lzma
import os
import resource
import struct
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = [f"text number {number} of the river and its towns {number**5}" for number in range(300)]
HUGE = 0x7FFFFFFF
ROOM = 1 << 30  # bytes by which the reading process may grow


def varint(number: int) -> bytes:
    """Thrift's compact form of a whole number."""
    value, out = number << 1, bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def end_of_varint(data: bytes, place: int) -> int:
    while data[place] & 128:
        place += 1
    return place + 1


def forged_parquet(codec: str, dictionary: bool, field: int) -> bytes:
    """A file whose first page claims HUGE decoded (field 2) or compressed (field 3) bytes."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ROWS}), sink, compression=codec, use_dictionary=dictionary)
    data = sink.getvalue()
    begin = end_of_varint(data, 5) + 1  # "PAR1", the header of the page type and the type
    if field == 3:
        begin = end_of_varint(data, begin) + 1
    return data[:begin] + varint(HUGE) + data[end_of_varint(data, begin) :]


def forged_zstd() -> dict[str, bytes]:
    """Frames that ask for windows or contents of up to 2^62 bytes."""
    import zstandard

    text = "".join(json.dumps({"text": row}) + "\n" for row in ROWS).encode()
    streamed = bytearray(zstandard.ZstdCompressor(write_content_size=False).compress(text))
    streamed[5] = 31 - 10 << 3  # the window's logarithm
    sized = zstandard.ZstdCompressor().compress(text)
    body = sized[5 + (0 if sized[4] & 0x20 else 1) + {0: 1, 1: 2, 2: 4, 3: 8}[sized[4] >> 6] :]
    content = {
        f"content{size}": sized[:4] + bytes([0xE0 | sized[4] & 4]) + struct.pack("<Q", size) + body
        for size in (HUGE, 1 << 62)
    }
    return {"window": bytes(streamed), **content}


def forged_xz() -> bytes:
    """A block whose dictionary is said to have 4 GB."""
    data = bytearray(lzma.compress("".join(json.dumps({"text": row}) + "\n" for row in ROWS).encode()))
    data[data.index(b"\x21\x01", 12) + 2] = 40
    end = 12 + (data[12] + 1) * 4
    data[end - 4 : end] = struct.pack("<I", zlib.crc32(bytes(data[12 : end - 4])))
    return bytes(data)


def token_shard() -> bytes:
    """A sound shard of tokens."""
    from llm_core.formats.token_shards import token_schema

    schema, sink = token_schema(1000, "t"), io.BytesIO()
    values = [["a", "b", "c"], ["s"] * 3, [9, 9, 9], [[1, 2, 3], [4, 5], [6]]]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(v, f.type) for v, f in zip(values, schema, strict=True)], schema=schema
    )
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def make(folder: Path) -> None:
    """Write all files."""
    for codec in ("zstd", "snappy", "gzip", "none"):
        for dictionary in (False, True):
            for field in (2, 3):
                (folder / f"{codec}-{dictionary}-{field}.parquet").write_bytes(forged_parquet(codec, dictionary, field))
    for name, data in forged_zstd().items():
        (folder / f"{name}.jsonl.zst").write_bytes(data)
    (folder / "dictionary.jsonl.xz").write_bytes(forged_xz())
    shard = token_shard()
    for place in range(0, len(shard) - 4, 4):
        for value in (HUGE, 0x01000000, 5):
            if shard[place : place + 4] != struct.pack("<i", value):
                forged = shard[:place] + struct.pack("<i", value) + shard[place + 4 :]
                (folder / f"{place:05d}-{value}.arrow").write_bytes(forged)


def read(file: Path) -> str:
    """Read a file by whatever reads such files; what came of it."""
    from llm_core.corpus.sources.tables import read_table
    from llm_core.errors import UserError
    from llm_core.formats.token_shards import TokenShards
    from llm_core.lineage.journey import token_rows

    if file.suffix != ".arrow":
        return ",".join(sorted({getattr(record, "reason", "document") for record in read_table(file, file.name, {})}))
    place = file.parent / "read" / "train"
    place.mkdir(parents=True, exist_ok=True)
    file.rename(place / "00000.arrow")
    try:
        shards = TokenShards(place)
        for document in range(len(shards)):
            int(shards.ids(document).sum())
            shards.id(document), shards.source(document)
        token_rows(place.parent, {"a"})
    except UserError as error:
        return f"refused: {error}"
    return "read"


def _size() -> int:
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10


if __name__ == "__main__":
    place = Path(sys.argv[1])
    pq.write_table(pa.table({"text": ROWS}), place / "sound.parquet")
    assert read(place / "sound.parquet") == "document"  # and Arrow has reserved what it reserves
    resource.setrlimit(resource.RLIMIT_AS, (_size() + ROOM, resource.RLIM_INFINITY))
    for file in sorted(place.glob("*-*.*")) + sorted(place.glob("*.jsonl.*")):
        print(file.name, file=sys.stderr, flush=True)  # the last one is that at which the process ended
        outcome = read(file)
        # not ru_maxrss, which begins with the memory of the process that started this one
        status = Path("/proc/self/status").read_text()
        used = int(status.partition("VmHWM:")[2].split()[0]) >> 10
        print(json.dumps({"name": file.name, "outcome": outcome, "megabytes": used}), flush=True)
    os._exit(0)
