"""Record boundaries in damaged WARC files: every intact record is found, every damage is reported once."""

import gzip
import io
import random
import re
import struct
import zlib

import pytest
import zstandard

from llm_core.corpus.sources import warc_frames
from llm_core.corpus.sources.warc_frames import read_frames
from tests.llm_core.corpus.sources.warc_files import page, record

RECORDS = [record(number) for number in range(5)]
MEMBERS = [gzip.compress(one, mtime=0) for one in RECORDS]


def found(data: bytes) -> list[object]:
    """Numbers of the records found, and reasons of the damage, in order."""
    return [
        frame.damage or int(re.search(rb"urn:uuid:(\d+)", frame.data)[1])  # type: ignore[index]
        for frame in read_frames(io.BytesIO(data))
    ]


def with_second(changed: bytes, members: bool) -> bytes:
    """The five records with the one in the middle replaced."""
    if members:
        return b"".join([*MEMBERS[:2], gzip.compress(changed, mtime=0), *MEMBERS[3:]])
    return b"".join([*RECORDS[:2], changed, *RECORDS[3:]])


@pytest.mark.parametrize("data", [b"".join(MEMBERS), b"".join(RECORDS), gzip.compress(b"".join(RECORDS))])
def test_sound_files_however_they_are_packed(data):
    frames = list(read_frames(io.BytesIO(data)))
    assert [frame.data for frame in frames] == [one.removesuffix(b"\r\n\r\n") for one in RECORDS]


def test_zstd_files_with_and_without_a_dictionary():
    """One frame a record, a dictionary (plain or itself compressed) before them; a broken frame ends the file."""
    plain = [zstandard.compress(one) for one in RECORDS]
    assert found(b"".join(plain)) == [0, 1, 2, 3, 4]
    offsets = [frame.offset for frame in read_frames(io.BytesIO(b"".join(plain)))]
    assert offsets == [sum(map(len, plain[:number])) for number in range(5)]
    dictionary = zstandard.ZstdCompressionDict(b"".join(RECORDS)[:2000], dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    framed = [zstandard.ZstdCompressor(dict_data=dictionary).compress(one) for one in RECORDS]
    for data in (dictionary.as_bytes(), zstandard.compress(dictionary.as_bytes())):
        assert found(b"\x5d\x2a\x4d\x18" + struct.pack("<I", len(data)) + data + b"".join(framed)) == [0, 1, 2, 3, 4]
    broken = b"".join(plain[:2]) + plain[2][:6] + b"\xff" * 40 + b"".join(plain[3:])
    assert found(broken) == [0, 1, "quarantine_zstd"]
    assert found(b"".join(plain)[:-30])[:4] == [0, 1, 2, 3]


def test_offset_is_where_the_gzip_member_begins():
    offsets = [frame.offset for frame in read_frames(io.BytesIO(b"".join(MEMBERS)))]
    assert offsets == [sum(map(len, MEMBERS[:number])) for number in range(5)]


def test_record_that_spans_gzip_members():
    data = gzip.compress(RECORDS[0][:300]) + gzip.compress(RECORDS[0][300:]) + MEMBERS[1]
    assert found(data) == [0, 1]


@pytest.mark.parametrize("members", [True, False])
@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (100, "quarantine_wrong_length"),
        (len(RECORDS[2]) + 50, "quarantine_wrong_length"),
        (9000, "quarantine_wrong_length"),
        (1 << 40, "quarantine_too_large"),
        (-7, "quarantine_header"),
        ("abc", "quarantine_header"),
        ("", "quarantine_header"),
    ],
)
def test_wrong_length_costs_one_record(members, length, reason):
    data = with_second(record(2, length=length), members)
    assert found(data) == [0, 1, reason, 3, 4]


def test_corrupt_gzip_member_costs_one_record():
    bad = bytearray(MEMBERS[2])
    bad[len(bad) // 2] ^= 0xFF
    bad[len(bad) // 2 + 1] ^= 0xFF
    assert found(b"".join([*MEMBERS[:2], bytes(bad), *MEMBERS[3:]])) == [0, 1, "quarantine_gzip", 3, 4]


def test_wrong_checksum_of_a_gzip_member():
    bad = MEMBERS[2][:-8] + b"\0\0\0\0" + MEMBERS[2][-4:]
    assert found(b"".join([*MEMBERS[:2], bad, *MEMBERS[3:]])) == [0, 1, "quarantine_gzip", 3, 4]


def test_garbage_between_members_is_reported_and_padding_is_not():
    assert found(MEMBERS[0] + b"\0" * 512 + MEMBERS[1] + b"garbage" * 20 + MEMBERS[2]) == [
        0,
        1,
        "quarantine_garbage",
        2,
    ]


def test_garbage_between_plain_records():
    assert found(RECORDS[0] + b"garbage\r\n" * 9 + RECORDS[1]) in (
        [0, "quarantine_garbage", 1],
        ["quarantine_wrong_length", 1],
    )


def test_missing_checksum_at_the_end_costs_nothing():
    assert found(b"".join(MEMBERS)[:-8]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cut", [40, 60, 150, len(MEMBERS[4]) - 1])
def test_truncated_members(cut):
    assert found(b"".join(MEMBERS)[:-cut]) == [0, 1, 2, 3, "quarantine_truncated"]


def test_truncated_plain_file():
    assert found(b"".join(RECORDS)[:-60]) == [0, 1, 2, 3, "quarantine_truncated"]


def test_truncated_single_member_gives_what_came_before():
    whole = gzip.compress(b"".join(RECORDS))
    inflated = zlib.decompressobj(31).decompress(whole[:-300])
    complete = inflated.count(b"</html>\r\n\r\n")
    *before, last = found(whole[:-300])
    assert before[: complete - 1] == list(range(complete - 1)) and last == "quarantine_truncated"


def test_empty_file_has_no_records():
    assert found(b"") == []


def test_records_larger_than_the_limit_are_skipped_and_the_next_is_found(monkeypatch):
    monkeypatch.setattr(warc_frames, "LARGEST_RECORD", 100_000)
    large = record(2, page(2, 300_000))
    for members in (True, False):
        assert found(with_second(large, members)) == [0, 1, "quarantine_too_large", 3, 4]


def test_any_damage_costs_at_most_the_records_it_touches():
    """Flip random bytes: records in untouched members are always found, none twice."""
    members = [gzip.compress(record(number), mtime=0) for number in range(30)]
    ends = [sum(map(len, members[: number + 1])) for number in range(30)]
    rng = random.Random(7)
    for _ in range(60):
        data = bytearray(b"".join(members))
        hit = rng.sample(range(len(data)), 3)
        for place in hit:
            data[place] ^= rng.randrange(1, 256)
        touched = {next(number for number, end in enumerate(ends) if place < end) for place in hit}
        numbers = [one for one in found(bytes(data)) if isinstance(one, int)]
        assert len(numbers) == len(set(numbers))
        assert set(range(30)) - touched <= set(numbers)
