"""Whether a process holds the lock on a file.

The kernel drops a lock with its process, so the lock tells who lives; a process id does not, since another host,
container or process may have it.
"""

import fcntl
import os
from pathlib import Path


def locked(file: Path) -> bool:
    """Whether a process, here or on another host of the same file system, holds the lock on `file`."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # another user's
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
