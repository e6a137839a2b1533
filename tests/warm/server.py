"""Forks a process for each command that a client (client.py) asks for; the packages are imported once, before.

    python -P server.py LISTENER FOLDER PACKAGE...     LISTENER: number of the file of a listening socket

A forked process takes the client's arguments, environment, folder and standard files, and runs the module that it names
from where the environment's PYTHONPATH says, as `python -m` does in a new process. It ends when its client is killed.
The server ends, and removes FOLDER, when its standard input is closed, which is when the tests end.
"""

import atexit
import gc
import importlib
import inspect
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType

STANDARD = 3  # number of standard files


def serve(listener: socket.socket) -> None:
    """Answer clients until standard input is closed."""
    poll = select.poll()
    for file in (0, listener.fileno()):
        poll.register(file, select.POLLIN)
    clients: dict[int, tuple[int, socket.socket]] = {}  # by the file of the process that works for it: its id, it
    while True:
        for file, _ in poll.poll():
            if file == 0:
                for process, _ in clients.values():
                    os.kill(process, signal.SIGKILL)
                return
            if file == listener.fileno():
                client, _ = listener.accept()
                process = answer(client, [listener, *(one for _, one in clients.values())], list(clients))
                if process is None:
                    client.close()
                    continue
                watched = os.pidfd_open(process)
                clients[watched] = process, client
                poll.register(watched, select.POLLIN)
                poll.register(client, select.POLLIN)
            elif file in clients:
                process, client = clients.pop(file)
                _, status = os.waitpid(process, 0)
                poll.unregister(file)
                os.close(file)
                forget(poll, client)
                with suppress(OSError):  # it was killed
                    client.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
                client.close()
            else:  # a client says nothing after its request, so this is its end
                for process, client in clients.values():
                    if client.fileno() == file:
                        os.kill(process, signal.SIGKILL)
                        forget(poll, client)


def forget(poll: select.poll, client: socket.socket) -> None:
    """Stop watching a client, if it is watched."""
    with suppress(KeyError):
        poll.unregister(client)


def answer(client: socket.socket, others: list[socket.socket], watched: list[int]) -> int | None:
    """Fork a process for a client; its id, which the client gets too. None where the client died while it asked."""
    body, files = request_of(client)
    process = os.fork() if body else None
    if process == 0:
        for one in (client, *others):
            one.close()
        for file in watched:
            os.close(file)
        work(json.loads(body), files)
    for file in files:
        os.close(file)
    if process is not None:
        with suppress(OSError):  # it was killed; `serve` sees its end and ends the process
            client.sendall(process.to_bytes(8, "big"))
    return process


def request_of(client: socket.socket) -> tuple[bytes, list[int]]:
    """What a client asks for, as JSON, and its standard files; b"" where it died before it had said all."""
    body, files = b"", []
    with suppress(OSError):
        start, files, _, _ = socket.recv_fds(client, 8, STANDARD)
        wanted = int.from_bytes(start, "big")
        while len(body) < wanted:
            more = client.recv(wanted - len(body))
            if not more:
                return b"", files
            body += more
        return body, files
    return b"", files


def work(request: dict, files: list[int]) -> None:
    """Run the module that was asked for; never returns."""
    code = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        module, *sys.argv[1:] = request["arguments"]
        sys.executable = request["python"]
        sys.path[:0] = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
        if request["here"]:
            sys.path.insert(0, request["folder"])
        importlib.invalidate_caches()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # else every process draws the same numbers
        sys.modules.pop("sitecustomize", None)
        with suppress(ModuleNotFoundError):
            importlib.import_module("sitecustomize")
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        end_process(code)


def end_process(code: int) -> None:
    """End as Python ends, without the second that the search for garbage among all packages takes."""
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def forget_inherited_signals() -> None:
    """Signals as a process that a shell starts has them, whatever the process that started this one ignores or blocks.

    Before the packages are imported, so that what an import sets is kept.
    """
    own = (signal.SIGPIPE, signal.SIGXFSZ)  # which Python itself ignores
    for number in signal.valid_signals():
        if number not in own and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def interrupt_waits() -> None:
    """Let Ctrl-C end a wait for a child, as in a new process: since a package was imported it restarts such calls."""
    signal.siginterrupt(signal.SIGINT, True)


def quicken() -> None:
    """Do once what each process would do again with the imported packages, which took half of a short verb's time."""
    slow = inspect.getmodule

    def getmodule(thing: object, *rest: str | None) -> ModuleType | None:
        """The module of a frame by its name. Python's own looks at all imported modules, 1,350 times for our params."""
        if isinstance(thing, FrameType):
            module = sys.modules.get(thing.f_globals.get("__name__", ""))
            if module is not None and module.__dict__ is thing.f_globals:
                return module
        return slow(thing, *rest)

    inspect.getmodule = getmodule
    if "sqlalchemy.orm" in sys.modules:
        sys.modules["sqlalchemy.orm"].configure_mappers()
    if "mlflow.store.tracking.sqlalchemy_store" in sys.modules:
        runpy.run_path(f"{Path(__file__).parent}/store.py")["quicken"]()


def main() -> None:
    forget_inherited_signals()
    listener = socket.socket(fileno=int(sys.argv[1]))
    needed, *_ = select.select([0, listener], [], [])
    if listener in needed:
        for package in sys.argv[3:]:
            importlib.import_module(package)
        interrupt_waits()
        quicken()
        gc.collect()
        gc.freeze()  # else each process looks for garbage among the packages, and copies their pages by that
        serve(listener)
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
