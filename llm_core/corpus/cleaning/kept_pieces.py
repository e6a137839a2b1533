"""Finished pieces of a cleaning run, kept so that a later run redoes only what changed.

A piece is reused where everything that its result depends on is the same: the bytes of the input file and its path
(which the ledger records), the rows, params and steps, the content of the files that params name, the library's code
and the versions of all installed packages. Too much in the key costs a recomputation; too little would give wrong
bytes. Reuse is by file: a file that changed redoes all its pieces.

Kept pieces are in `.scratch/pieces`, off by default, bounded by `launch.cleaning.kept_mb`, the longest unused removed
first. Nothing is taken without its digests: what was damaged or edited is computed again. A piece in which a document
ran out of time, whose file the system could not read, or whose file changed meanwhile, is not kept, because none of
these is reproducible.
"""

import hashlib
import importlib.metadata
import json
import os
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import llm_core
from llm_core.corpus.cleaning.run_statistics import Statistics
from llm_core.corpus.cleaning.time_bound import REASON
from llm_core.errors import UserError
from llm_core.formats.pieces import Piece
from llm_core.params.cleaning import Cleaning
from llm_core.params.external import cleaning_inputs
from llm_core.runtime.digests import content_digest, file_digest
from llm_core.runtime.manifests import find_shard
from llm_core.runtime.progress import log
from llm_core.runtime.storage import is_remote

FOLDER = Path(".scratch/pieces")
ABOUT = "piece.json"
ROOMS = ("cli", "corpus", "formats", "kernels", "params", "runtime")  # what cleaning calls; cli has `extract`'s reader
NOT_KEPT = (REASON, "quarantine_unreadable_file")  # another run may give another result
Stamp = tuple[int, int, int] | None
COUNTERS = ("lengths", "languages", "changes", "tallies")


@dataclass
class Done:
    """What a worker made of one piece; its rows are in `folder`."""

    folder: str
    documents_in: int
    counts: Counter[tuple[str, str, str]]
    sizes: Counter[tuple[str, str, str]]
    statistics: Statistics


class KeptPieces:
    """The pieces that earlier runs kept, for the params, steps and reader of this one.

    `reader` is the name of the function that reads a piece, and the values that it is given beside the piece.
    """

    def __init__(
        self, params: Cleaning, steps: Sequence[str], stage: str, megabytes: int, reader: Sequence[str] = ()
    ) -> None:
        self.bound = megabytes << 20
        self._samples = params.drop_samples
        named = {path: content_digest(Path(path)) for path in cleaning_inputs(params) if Path(path).exists()}
        self._run = [params.model_dump(mode="json"), list(steps), stage, list(reader), named, _code(), _packages()]
        self._files: dict[str, tuple[Stamp, str | None]] = {}
        self._used: set[str] = set()

    def key(self, piece: Piece) -> str | None:
        """The name of a piece's result; None for a file whose content is not known.

        It is on another file system, is no file (a pipe), or cannot be read, which the piece's reader then reports.
        """
        if piece.file not in self._files:
            self._files[piece.file] = _digest(piece.file)
        _, digest = self._files[piece.file]
        if digest is None:
            return None
        return hashlib.sha256(json.dumps([self._run, astuple(piece), digest], sort_keys=True).encode()).hexdigest()

    def has(self, key: str | None) -> bool:
        """Whether there is a result of that name, with the bytes that were kept; one that was damaged is removed."""
        folder = FOLDER / (key or "")
        if key is None or not (folder / ABOUT).is_file():
            return False
        try:
            if _about(folder)["files"] != _file_digests(folder):
                raise ValueError("the digest of a file differs")
        except (ValueError, KeyError, TypeError, OSError) as error:
            log(f"{folder}: not what was kept ({error}); the piece is computed again")
            shutil.rmtree(folder, ignore_errors=True)
            return False
        os.utime(folder)
        self._used.add(key)
        return True

    def take(self, key: str) -> Done:
        """The result of that name, which `has` has found. Raises UserError where it was changed since."""
        try:
            return _decode(FOLDER / key, _about(FOLDER / key)["state"], self._samples)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{FOLDER / key}: was changed while it was read ({error}); run again") from None

    def keep(self, key: str | None, piece: Piece, done: Done) -> None:
        """Move a finished piece's folder to those kept, or remove it where it may not be kept.

        It may not where its file has changed since its digest was taken: a worker has then read other bytes.
        """
        source = Path(done.folder)
        if (
            key is None
            or self._files[piece.file][0] != _stamp(piece.file)
            or any(reason in NOT_KEPT for _, _, reason in done.counts)
            or not self._room(_size(source))
        ):
            shutil.rmtree(source)
            return
        files, state = _file_digests(source), _encode(done)
        about = {"state": state, "files": files, "digest": _state_digest(state, files)}
        FOLDER.mkdir(parents=True, exist_ok=True)
        partial = FOLDER / f".{key}.partial-{secrets.token_hex(6)}"
        shutil.move(source, partial)
        (partial / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        shutil.rmtree(FOLDER / key, ignore_errors=True)
        partial.rename(FOLDER / key)
        self._used.add(key)

    def _room(self, needed: int) -> bool:
        """Whether there is room for `needed` bytes, after the pieces that were unused for the longest time left."""
        kept = [(folder.stat().st_mtime, folder, _size(folder)) for folder in FOLDER.glob("*") if folder.is_dir()]
        total = sum(size for *_, size in kept) + needed
        for _, folder, size in sorted(kept):
            if total > self.bound and folder.name not in self._used:
                shutil.rmtree(folder, ignore_errors=True)
                total -= size
        return total <= self.bound


def _digest(file: str) -> tuple[Stamp, str | None]:
    """A file's stamp and then its digest; no digest where its content is not known."""
    stamp = _stamp(file)
    try:
        if stamp is None:
            shard = find_shard(file)
            return None, shard.sha256 if shard else None
        return stamp, file_digest(Path(file), "sha256")
    except OSError:
        return stamp, None


def _stamp(file: str) -> Stamp:
    """What changes with a local file: bytes, time, number. None where there is no file, as for a shard on a store."""
    if is_remote(file):
        return None
    try:
        about = Path(file).stat()
    except OSError:
        return None
    return (about.st_size, about.st_mtime_ns, about.st_ino) if stat.S_ISREG(about.st_mode) else None


def _about(folder: Path) -> dict[str, Any]:
    """What is written of a kept piece. Raises ValueError where it is not what was written."""
    about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    if about["digest"] != _state_digest(about["state"], about["files"]):
        raise ValueError(f"the digest of {ABOUT} differs")
    return about


def _code() -> str:
    """Digest of the library's code that cleaning may call."""
    digest = hashlib.sha256()
    root = Path(llm_core.__file__).parent
    for room in ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            digest.update(f"{file.relative_to(root)}\0{file_digest(file, 'sha256')}\n".encode())
    return digest.hexdigest()


def _packages() -> list[str]:
    return sorted({f"{one.name}=={one.version}" for one in importlib.metadata.distributions()})


def _file_digests(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ABOUT)
    return {file.relative_to(folder).as_posix(): file_digest(file, "sha256") for file in files}


def _state_digest(state: dict[str, Any], files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([state, files], sort_keys=True).encode()).hexdigest()


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _encode(done: Done) -> dict[str, Any]:
    statistics = done.statistics
    return {
        "documents_in": done.documents_in,
        "counts": _rows(done.counts),
        "sizes": _rows(done.sizes),
        **{name: _rows(getattr(statistics, name)) for name in COUNTERS},
        "bytes_out": dict(statistics.bytes_out),
        "samples": [[list(key), [list(pair) for pair in heap]] for key, heap in statistics.samples.items()],
    }


def _decode(folder: Path, state: dict[str, Any], samples: int) -> Done:
    statistics = Statistics(samples, bytes_out=Counter(state["bytes_out"]))
    for name in COUNTERS:
        setattr(statistics, name, _counter(state[name]))
    statistics.samples = {tuple(key): [(order, row) for order, row in heap] for key, heap in state["samples"]}
    return Done(str(folder), state["documents_in"], _counter(state["counts"]), _counter(state["sizes"]), statistics)


def _rows(counter: Counter[Any]) -> list[list[Any]]:
    return [[list(key), count] for key, count in counter.items()]


def _counter(rows: list[list[Any]]) -> Counter[Any]:
    return Counter({tuple(key): count for key, count in rows})
