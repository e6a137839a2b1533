"""How much a stage reads at once, and what its process keeps of the memory that it has freed."""

import ctypes
import os
from contextlib import suppress

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE = 1 << 20


def batch_bytes(memory_mb: int) -> int:
    """Bytes of text in a batch of documents where a stage may take `memory_mb`: a 32nd of it.

    Its words, shingles and texts, a few batches ahead, take some ten times as much.
    """
    return memory_mb << 15


def memory_share(memory_mb: int) -> int:
    """Bytes that one step of a stage holds at once where the stage may take `memory_mb`: an eighth of it.

    So small that a corpus of a hundred thousand documents fills it as one of a million does.
    """
    return memory_mb << 17


def return_what_is_freed() -> None:
    """From now on give freed blocks of a megabyte and more back to the system. Call it before pyarrow is imported.

    Otherwise glibc keeps blocks of up to 32 MB for later, and Arrow's own allocator keeps all its pages: a stage
    with buffers of 32 MB then grows to several times that. Costs some page faults; changes no result.
    """
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # read when pyarrow is loaded; its setter misses Parquet's pool
    map_large_blocks()


def map_large_blocks() -> None:
    """Have glibc give blocks of a megabyte and more back to the system when they are freed; nothing elsewhere."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
