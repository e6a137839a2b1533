"""Input files are read completely, unchanged and within bounds, or refused with their name."""

import bz2
import gzip
import lzma
import os
import pickle
import random

import pytest
import zstandard

from llm_core.runtime.inputs import MAX_WINDOW_BYTES, BrokenInputError, open_input

COMPRESSORS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def lines(count: int, seed: int = 0) -> bytes:
    draw = random.Random(seed)
    return b"".join(b"%x\n" % draw.getrandbits(200) for _ in range(count))


def read(file) -> bytes:
    with open_input(file) as stream:
        return stream.read()


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("upper", [False, True])
def test_several_frames_are_read_as_one_file(tmp_path, ending, upper):
    pieces = [lines(1000, seed) for seed in range(3)]
    file = tmp_path / f"x{ending.upper() if upper else ending}"
    file.write_bytes(b"".join(map(COMPRESSORS[ending], pieces)))
    assert read(file) == b"".join(pieces)


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_file_cut_anywhere_but_between_frames_is_truncated(tmp_path, ending):
    frames = [COMPRESSORS[ending](lines(50, seed)) for seed in range(3)]
    whole = b"".join(frames)
    ends = {0, len(frames[0]), len(frames[0] + frames[1]), len(whole)}
    file = tmp_path / f"x{ending}"
    for length in {*range(1, len(whole), 97), *range(len(whole) - 12, len(whole))} - ends:
        file.write_bytes(whole[:length])
        before = 0
        with pytest.raises(BrokenInputError) as caught, open_input(file) as stream:
            for line in stream:
                before += len(line)
        assert caught.value.reason == "quarantine_truncated"
        assert before >= sum(50 * 51 - 100 for end in ends if 0 < end <= length)  # whole frames before it are read


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_file_that_is_not_what_its_name_says_is_broken(tmp_path, ending):
    file = tmp_path / f"x{ending}"
    file.write_bytes(b"plain text, not compressed at all\n" * 10)
    with pytest.raises(BrokenInputError):
        read(file)


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_decompression_bomb_is_refused_with_little_memory(tmp_path, ending):
    file = tmp_path / f"x{ending}"
    file.write_bytes(COMPRESSORS[ending](bytes(300 << 20)))
    with pytest.raises(BrokenInputError) as caught, open_input(file) as stream:
        while stream.read(1 << 20):
            pass
    assert caught.value.reason == "quarantine_decompression_bomb"


def test_a_window_that_is_too_large_is_refused(tmp_path):
    log = (8 * MAX_WINDOW_BYTES).bit_length() - 1
    settings = zstandard.ZstdCompressionParameters(window_log=log, enable_ldm=True)
    stream = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    (tmp_path / "x.zst").write_bytes(stream.compress(b"some text") + stream.flush())
    with pytest.raises(BrokenInputError, match="memory"):
        read(tmp_path / "x.zst")


def test_a_file_that_is_rewritten_while_it_is_read_is_noticed(tmp_path):
    file = tmp_path / "x.txt"
    for change in (lambda: file.open("a").write("more"), lambda: _copy(file).replace(file), file.unlink):
        file.write_text("some text\n")
        with pytest.raises(BrokenInputError) as caught, open_input(file) as stream:
            stream.read()
            change()
        assert caught.value.reason == "quarantine_changed_while_read"


def _copy(file):
    other = file.with_suffix(".other")
    other.write_bytes(file.read_bytes())
    return other


@pytest.mark.timeout(20)
def test_a_fifo_is_refused_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.jsonl")
    with pytest.raises(BrokenInputError, match="FIFO"):
        read(tmp_path / "x.jsonl")
    with pytest.raises(BrokenInputError, match="device"):
        read("/dev/zero")


def test_the_error_travels_from_a_worker_process():
    error = pickle.loads(pickle.dumps(BrokenInputError("quarantine_x", "a message")))  # noqa: S301
    assert (error.reason, str(error)) == ("quarantine_x", "a message")
