"""Outputs that appear whole or not at all, and replace nothing but an earlier output.

A stage writes into a scratch folder beside the final name; at the end one system call exchanges the two, so that a
killed stage leaves the old output or the new one. The folder carries a mark (`.llm-core-output`) that lists the files
the stage wrote. `--out` replaces a folder only where it is empty, or where the mark lists everything that is in it;
folders without a mark (`dvc checkout` brings outputs back without it) must have exactly the files of a known stage.

The mark lies at the level of `--out` and is named in `.dvcignore`, so that it is part of no DVC hash. While a stage
works it holds a lock on the mark of its scratch folder. The kernel drops the lock with the process: whether a scratch
folder is abandoned is decided by the lock, never by a process id, which another host, container or process may have.
"""

import ctypes
import errno
import fcntl
import glob
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from llm_core.errors import UserError
from llm_core.runtime.locks import locked

MARK = ".llm-core-output"
ABOUT = "llm-core wrote this folder; --out may replace these files"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # `Path` folds the // of an address to /
SIDE_FILES = re.compile(r"(.*/)?(\.gitignore|\.DS_Store|Thumbs\.db|desktop\.ini|\.tantivy-\w+\.lock|\.nfs\w+)")
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux' fcntl.h and fs.h
ABANDONED_SECONDS = 3600.0  # age from which a scratch folder without a mark belongs to nobody
SHOWN = 3

_ROWS = r"((train|heldout)/)?(documents|ledger)/((\d{5,}-)?\d{5,}\.parquet|_manifest\.json)"
_MODEL = (
    r"(snapshots/step\d{8}/)?([\w-]+\.(json|jsonl|safetensors|csv|jinja)|(lstm|speedrun)\.py|model\.safetensors\.index\.json|merges\.txt"
    r"|vocab\.txt|spiece\.model)"
)
# (files that must be there, pattern that every file must have) of the stages' outputs, for folders without a mark
LAYOUTS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"metrics.json", "ledger/00000-00000.parquet"}), rf"{_ROWS}|metrics\.json"),
    (frozenset({"metrics.json", "ledger/00000.parquet"}), rf"{_ROWS}|metrics\.json|drops\.jsonl|touched_items\.jsonl"),
    (frozenset({"metrics.json", "ledger/_manifest.json"}), rf"{_ROWS}|metrics\.json|drops\.jsonl|touched_items\.jsonl"),
    (frozenset({"metrics.json", "train/00000.arrow"}), r"metrics\.json|(train|heldout)/\d{5,}\.arrow"),
    (frozenset({"metrics.json", "train/_manifest.json"}), r"metrics\.json|(train|heldout)/_manifest\.json"),
    (frozenset({"config.json", "metrics.json", "tokenizer.json"}), _MODEL),
    (
        frozenset({"metrics.json", "tokenizer.json", "tokenizer_config.json"}),
        r"(metrics|tokenizer|tokenizer_config)\.json|chat_template\.jinja",
    ),
    (
        frozenset({"about.json", "metrics.json", "results.jsonl"}),
        r"(about|metrics|samples)\.json|results\.jsonl|[\w-]+\.(png|svg)",
    ),
    (frozenset({"metrics.json", "train.jsonl"}), r"(documents|metrics)\.json|(train|heldout|test|validation)\.jsonl"),
    (frozenset({"manifest.json"}), r"manifest\.json|[\w.-]+\.jsonl"),
    (frozenset({"dataset.md", "dataset.html"}), r"[\w.-]+\.(md|html)"),
    (frozenset({"report.md", "report.html"}), r"report\.(md|html)|[\w-]+\.(png|svg)|plots/[\w-]+\.csv"),
)


@contextmanager
def output_folder(out: str | Path, inputs: Iterable[str | Path] = (), stored: bool = False) -> Iterator[Path]:
    """Yield a scratch folder that becomes `out` when the block ends without an error.

    With `stored`, the shards below it go to the storage of `launch.storage`, if there is one; that it can be written is
    checked first.

    An earlier output at `out` is replaced whole. On an error, Ctrl-C included, the scratch folder is removed and `out`
    stays as it was. Raises UserError where `out` must not be replaced: see `check_output`.
    """
    target = check_output(out, inputs)
    made = _make_parents(target.parent)
    _recover(target)
    check_output(target, inputs)
    if stored:
        from llm_core.runtime import object_storage  # imports pydantic, which `--help` does without

        object_storage.check_storage()
    scratch = target.parent / f".{target.name}.partial-{secrets.token_hex(6)}"
    try:
        scratch.mkdir()
        lock = os.open(scratch / MARK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield scratch
            if stored:
                object_storage.upload_shards(scratch)
            _write_mark(scratch, lock)
            check_output(target, inputs)
            _put(scratch, target)
        finally:
            os.close(lock)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def output_file(out: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name only when the block ends well.

    Raises UserError where `out` is a folder, lies below a file, or is an address of another file system.
    """
    target = check_output_file(out)
    made = _make_parents(target.parent)
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
        if leftover.is_file() and not locked(leftover):
            leftover.unlink(missing_ok=True)
    scratch = target.parent / f".{target.name}.partial-{secrets.token_hex(6)}"
    try:
        with open(scratch, mode, encoding=None if "b" in mode else "utf-8") as stream:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream
            stream.flush()
            scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def check_output(out: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """The folder that may be written for `--out` (a link is followed); nothing is changed.

    Raises UserError: an address, a file, below a file, a folder that is or holds the working directory, the home
    folder, a git repository or one of `inputs`, or a folder with files that no stage wrote.
    """
    check_place(out)
    target = Path(out)
    if target.is_symlink():
        target = target.resolve()
    if target.exists() and not target.is_dir():
        raise UserError(f"{out}: is a file; --out needs a folder that is new, empty or an earlier output")
    real = target.resolve()
    for name, place in (("the working directory", Path.cwd()), ("the home folder", Path.home())):
        if real == place.resolve() or real in place.resolve().parents:
            raise UserError(f"{out}: is or holds {name}, and --out is replaced whole; name a folder of its own")
    if real.is_mount() or (real / ".git").exists():
        raise UserError(f"{out}: is a git repository or a mounted disk, and --out is replaced whole; name a new folder")
    for given in inputs:
        if not ADDRESS.match(str(given)):
            source = Path(given).resolve()
            if real == source or real in source.parents:
                raise UserError(f"{out}: is or holds the input {given}, and --out is replaced whole; name another")
    foreign = _foreign(target) if target.is_dir() else []
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        raise UserError(
            f"{out}: holds files that no stage wrote there ({', '.join(foreign[:SHOWN])}{more}); "
            "name a new folder, or move them away"
        )
    return target


def check_output_file(out: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """The file that may be written for `--out`; UserError where it is a folder or one of `inputs`."""
    check_place(out)
    target = Path(out)
    if target.is_dir():
        raise UserError(f"{out}: is a folder; name a file to write")
    for given in inputs:
        if target.resolve() == Path(given).resolve():
            raise UserError(f"{out}: is the input {given}; name another file to write")
    return target


def check_local(path: str | Path) -> None:
    """Raise UserError for an address where only local files and folders are read."""
    if ADDRESS.match(str(path)) and not Path(path).exists():
        raise UserError(
            f"{path}: only local files and folders are read here; copy it to one first (`dvc pull`, rclone)"
        )


def check_place(out: str | Path) -> None:
    """Raise UserError where nothing can be written at `out`: an address, no name, below a file."""
    target = Path(out)
    if ADDRESS.match(str(out)):
        raise UserError(
            f"{out}: outputs are written to local folders; write one there and copy it (`dvc push`, rclone)"
        )
    if not target.name or target.name == "..":
        raise UserError(f"{out}: names no folder of its own; name a folder that is new, empty or an earlier output")
    for parent in target.parents:
        if parent.exists() and not parent.is_dir():
            raise UserError(f"{out}: {parent} is a file, so nothing can be written below it")


def _foreign(folder: Path) -> list[str]:
    """Files in `folder` that no earlier output of a stage put there, sorted; folders are only looked through."""
    found = sorted(_files(folder))
    rest = [name for name in found if name != MARK and not SIDE_FILES.fullmatch(name)]
    if not rest:
        return []
    try:
        ours = set(json.loads((folder / MARK).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        for required, pattern in LAYOUTS:
            if required <= set(rest) and all(re.fullmatch(pattern, name) for name in rest):
                return []
        return rest
    return [name for name in rest if name not in ours]


def _files(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        for name in [*files, *(name for name in folders if (here / name).is_symlink())]:
            yield (here / name).relative_to(folder).as_posix()


def _write_mark(folder: Path, lock: int) -> None:
    names = sorted(name for name in _files(folder) if name != MARK)
    data = json.dumps({"about": ABOUT, "files": names}, indent=0, ensure_ascii=True).encode() + b"\n"
    os.ftruncate(lock, 0)
    os.pwrite(lock, data, 0)


def _put(scratch: Path, target: Path) -> None:
    """Move the finished folder to its name; what was there is removed afterwards."""
    if not target.exists():
        scratch.rename(target)
        return
    if _exchange(scratch, target):
        shutil.rmtree(scratch, ignore_errors=True)  # the earlier output now
        return
    previous = target.parent / f".{target.name}.previous-{secrets.token_hex(6)}"
    target.rename(previous)
    scratch.rename(target)
    shutil.rmtree(previous, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; False where the system or the file system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _recover(target: Path) -> None:
    """Bring back an output whose replacement was killed between two renames; remove abandoned scratch folders."""
    working = False
    name = glob.escape(target.name)
    for leftover in target.parent.glob(f".{name}.partial-*"):
        if _abandoned(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            working = True
    for leftover in sorted(target.parent.glob(f".{name}.previous-*"), key=lambda path: path.stat().st_mtime):
        if not target.exists() and not working:
            leftover.rename(target)
        elif target.exists() and not working:
            shutil.rmtree(leftover, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    if (folder / MARK).exists():
        return not locked(folder / MARK)
    try:
        return time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:  # removed by another process meanwhile
        return False


def _make_parents(folder: Path) -> list[Path]:
    """Make `folder` and the folders above it; those that were made, the innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing
