"""Paths and addresses: which file system of fsspec they belong to, and its errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from llm_core.errors import UserError
from llm_core.runtime.redaction import redact


def is_remote(path: str | Path) -> bool:
    """Whether `path` is an address of another file system (`s3://…`, `memory://…`)."""
    return "://" in str(path)


def file_system(path: str | Path, **settings: Any) -> tuple[Any, str]:
    """The fsspec file system of a local path or an address, and the path there; `settings` are the file system's own.

    Raises UserError where fsspec knows no such file system, or its package is not installed.
    """
    try:
        found, place = url_to_fs(str(path), **settings)
    except (ValueError, ImportError) as error:
        raise UserError(f"{redact(str(path))}: cannot be opened ({redact(str(error))})") from None
    return found, str(place)


@contextmanager
def reached(path: str | Path) -> Iterator[None]:
    """Raise UserError where another file system cannot be reached: each has errors of its own (no credentials, …)."""
    try:
        yield
    except (OSError, UserError):
        raise
    except Exception as error:
        if not is_remote(path):
            raise
        raise UserError(f"{redact(str(path))}: cannot be read ({redact(str(error))})") from error
