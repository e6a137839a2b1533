"""Worker processes end with the process that they work for, also where it is killed by `kill -9`.

A worker of a pool waits for its next item on a pipe of which it holds both ends, so that it would wait for ever. It
would also keep the locks and files that it inherited, and the next run would find them held.
"""

import os
import select
import threading


def end_with(*processes: int) -> None:
    """End this process at once when one of these processes (of this machine, by number) has ended."""
    ended = select.poll()  # takes any number of a descriptor, which select.select does not
    for process in processes:
        try:
            ended.register(os.pidfd_open(process), select.POLLIN)
        except ProcessLookupError:
            os._exit(1)
        except OSError:
            return  # a kernel or sandbox without pidfd: the work goes on without the guard

    def watch() -> None:
        ended.poll()
        os._exit(1)

    threading.Thread(target=watch, name="guard", daemon=True).start()
