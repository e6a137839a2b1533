"""The process that parses: one request after the other on standard input, each answered on standard output.

    python -m llm_core.corpus.sources.parsing.worker MEMORY_BYTES

A parser may crash, hang or fill the memory on a file that somebody made for that purpose. Here it takes along nothing
but itself: the address space is limited for the whole process, the CPU time for each request anew, and the kernel
ends the process that exceeds it. `llm_core.corpus.sources.parsing.client` starts it and reads what became of it.

A message is its length in 8 bytes, then JSON.
"""

import importlib
import json
import math
import os
import re
import resource
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from llm_core.corpus.sources.parsing.kinds import KINDS, Limits, NotParsedError, Parsed

HEADER_BYTES = 8
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")  # of an object, in a library's message; it differs from run to run
DETAIL_CHARACTERS = 200


def main(memory_bytes: int) -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no reply
    with suppress(ValueError, OSError):  # a system without this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while request := receive(sys.stdin.buffer):
        reply = answer(request)
        send(replies, reply)
        if reply.get("reason") == "quarantine_document_memory":
            return  # what an allocation left unfinished is not used again


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What the parser found, or why it found nothing: a `Parsed`, `{text}` or `{reason, detail}`."""
    try:
        if "wikitext" in request:
            from llm_core.corpus.sources.parsing.wikitext import plain

            limit_time(request["seconds"])
            return {"text": plain(request["wikitext"], request["namespaces"])}
        parse = parser_of(request["kind"])
        limit_time(request["seconds"])
        parsed = parse(Path(request["path"]), Limits(*request["limits"]))
    except NotParsedError as error:
        return {"reason": error.reason, "detail": str(error)}
    except MemoryError:
        return {"reason": "quarantine_document_memory", "detail": ""}
    except Exception as error:
        encrypted = isinstance(error, RuntimeError) and "password required" in str(error)  # zipfile's words
        broken = "quarantine_truncated" if isinstance(error, zipfile.BadZipFile) else "quarantine_broken_document"
        return {"reason": "quarantine_encrypted" if encrypted else broken, "detail": describe(error)}
    return parsed._asdict()


def parser_of(kind: str) -> Callable[[Path, Limits], Parsed]:
    """The function that parses files of an ending in `KINDS`."""
    module = importlib.import_module(f"llm_core.corpus.sources.parsing.{KINDS[kind].module}")
    parse: Callable[[Path, Limits], Parsed] = module.parse
    return parse


def describe(error: Exception) -> str:
    """A library's error in one line, the same in every run."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ADDRESS.sub("0x…", text)[:DETAIL_CHARACTERS]


def limit_time(seconds: float) -> None:
    """From now on so many seconds of CPU time; then the kernel sends SIGXCPU, which ends the process."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    data = json.dumps(message).encode()
    stream.write(len(data).to_bytes(HEADER_BYTES, "big") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read one message; None at the end of the stream."""
    header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    message: dict[str, Any] = json.loads(stream.read(int.from_bytes(header, "big")))
    return message


if __name__ == "__main__":
    main(int(sys.argv[1]))
