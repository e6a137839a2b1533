"""Versions of a stage in Dagster's sense, as hashes.

- Data version: the hash in dvc.lock of the stage's one output; of several, a hash over those that another stage reads
  (so that a rewritten metrics.json alone makes nothing after it stale, as under DVC), or over all where none is read.
- Code version: a hash over the stage's command, its flattened params and the hashes of its leaf deps (files that no
  stage makes, mostly code). It is computed in the same way from dvc.lock and from the workspace, so it differs exactly
  where DVC reports "changed command / params / deps".
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from llm_core.runtime.nested import flatten

BEFORE = "before:"  # prefix of a consumed version that is not the present one
NOTHING = "NULL"  # Dagster's version of an asset that has never been materialized


def data_version(outs: dict[str, str], consumed: list[str]) -> str | None:
    """Data version of a stage with these output hashes by path; None where one of the `consumed` outputs is missing."""
    if any(path not in outs for path in consumed):
        return None
    return outs[consumed[0]] if len(consumed) == 1 else _digest({path: outs[path] for path in consumed})


def code_version(cmd: Any, params: dict[str, Any], leaves: dict[str, str]) -> str:
    """Code version of a command, its params by file, and the hashes of its leaf deps by path."""
    plain = {file: {key: _plain(value) for key, value in flatten(values).items()} for file, values in params.items()}
    return _digest({"cmd": cmd, "params": plain, "deps": leaves})


def workspace_hash(item: Any) -> str:
    """DVC's hash of the present content of a dep or an output."""
    if not item.exists:
        return "missing"
    return str(item.get_hash().value)


def _plain(value: Any) -> Any:
    """One form for values that DVC treats as equal: 1, 1.0 and true."""
    return int(value) if isinstance(value, bool | float) and value == value // 1 else value


def _digest(value: dict[str, Any] | Iterable[str]) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
