"""What a process keeps of the memory that it has freed."""

import ctypes
from contextlib import suppress

import pyarrow as pa

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE = 1 << 20


def return_what_is_freed() -> None:
    """From now on give blocks of a megabyte and more back to the system when they are freed.

    Otherwise glibc keeps blocks of up to 32 MB for later, and Arrow's own allocator keeps its pages too: a stage
    with buffers of 32 MB then grows to several times that. Costs some page faults; changes no result.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
