"""Files to a worker process and back: started when it is needed, used again, replaced after a crash.

A verdict about memory or a crash is only taken from a process that has parsed nothing else before, so that it does not
depend on which files came first. CPU time is counted, not waiting: a busy machine changes no verdict.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from llm_core.corpus.sources.parsing.kinds import Limits, Parsed, Section
from llm_core.corpus.sources.parsing.worker import HEADER_BYTES, send
from llm_core.params.sources import FilesSource
from llm_core.runtime.inputs import BrokenInputError, open_unchanged

ROOT = Path(__file__).parents[4]  # the folder of the package llm_core
REUSED = 500  # files that one process parses, since libraries leak
WAITING = 20  # times the CPU time that a file may take in all, for a parser that sleeps
AGAIN = ("quarantine_document_memory", "quarantine_parser_crashed")


class Parser:
    """Parses files in a worker process; a context manager, which ends the process."""

    def __init__(self, params: FilesSource) -> None:
        self.seconds, self.memory_mb = params.document_seconds, params.document_memory_mb
        self.limits = Limits(params.max_document_bytes, params.max_inflation)
        self._process: subprocess.Popen[bytes] | None = None
        self._parsed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def __call__(self, path: Path, name: str, kind: str) -> Parsed:
        """The sections of the file at `path`, of a kind in `KINDS`; `name` is what errors call it.

        Raises BrokenInputError, with a reason for the ledger, where nothing can be read from it.
        """
        with open_unchanged(path):
            reply = self._judged({"path": str(path.absolute()), "kind": kind}, name)
        sections = [Section(*section) for section in reply["sections"]]
        chapters = tuple((title, page) for title, page in reply["chapters"])
        return Parsed(sections, reply["title"], reply["total"], tuple(reply["broken"]), chapters)

    def wikitext(self, text: str, name: str, namespaces: list[str]) -> str:
        """The plain text of a page (`parsing.wikitext`). Raises BrokenInputError, as for files."""
        reply: str = self._judged({"wikitext": text, "namespaces": namespaces}, name)["text"]
        return reply

    def _judged(self, request: dict[str, Any], name: str) -> dict[str, Any]:
        if self._parsed >= REUSED:
            self._stop()
        fresh = self._process is None
        reply = self._ask(request)
        if reply.get("reason") in AGAIN:
            self._stop()
            if not fresh:
                return self._judged(request, name)
        if reason := reply.get("reason"):
            detail = reply["detail"] or self._bound(reason)
            raise BrokenInputError(reason, f"{name}: {detail}" if detail else name)
        return reply

    def _bound(self, reason: str) -> str:
        knobs = {
            "quarantine_document_memory": f"more than {self.memory_mb} MB of memory (document_memory_mb)",
            "quarantine_document_time": f"more than {self.seconds} s of CPU time (document_seconds)",
        }
        return knobs.get(reason, "")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._start()
        assert self._process and self._process.stdin and self._process.stdout
        self._parsed += 1
        try:
            send(self._process.stdin, {**request, "seconds": self.seconds, "limits": self.limits})
            return self._reply(self._process.stdout.fileno(), time.monotonic() + WAITING * self.seconds)
        except (BrokenPipeError, EOFError):
            status = self._process.wait()
        except TimeoutError:
            status = -signal.SIGXCPU
        self._stop()
        if status == -signal.SIGXCPU:
            return {"reason": "quarantine_document_time", "detail": ""}
        ended = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
        return {"reason": "quarantine_parser_crashed", "detail": f"the parser {ended}"}

    def _start(self) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker", str(self.memory_mb << 20)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"},
        )

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        self._process, self._parsed = None, 0

    @staticmethod
    def _reply(descriptor: int, deadline: float) -> dict[str, Any]:
        """The next message. Raises EOFError where the process ended before it, TimeoutError at the deadline."""
        data = bytearray()
        size = None
        while size is None or len(data) < size:
            if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError
            if not (piece := os.read(descriptor, 1 << 20)):
                raise EOFError
            data += piece
            if size is None and len(data) >= HEADER_BYTES:
                size = int.from_bytes(data[:HEADER_BYTES], "big")
                del data[:HEADER_BYTES]
        message: dict[str, Any] = json.loads(data)
        return message
