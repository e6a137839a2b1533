"""Has a server (server.py) run a module: `python -IS client.py SOCKET PYTHON HERE MODULE ARGUMENT...`.

The module gets this process's environment, folder and standard files, and the signals that are sent to it; this process
ends as that one ends. PYTHON: what it shall take for Python. HERE: yes if it may import from the current folder.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the tests' process blocks shall reach the program
    address, python, here, *arguments = sys.argv[1:]
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib takes ten times as long to import
        "python": python,
        "here": here == "yes",
    }
    body = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(body).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(body)
        server.settimeout(1)
        process = int.from_bytes(received(server), "big")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda sent, _: os.kill(process, sent))
        code = int.from_bytes(received(server), "big", signed=True)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def received(server: socket.socket) -> bytes:
    """Eight bytes from the server."""
    found = b""
    while len(found) < 8:
        try:
            more = server.recv(8 - len(found))
        except TimeoutError:
            continue  # a signal that comes just before the call waits for its end to be handled
        if not more:
            sys.exit("the server that starts programs for the tests has ended")
        found += more
    return found


main()
