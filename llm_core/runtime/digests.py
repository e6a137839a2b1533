"""Content digests of files and folders, by the formula that DVC writes in dvc.lock.

A file's digest is the MD5 of its bytes. A folder's is the MD5 of the JSON list of its
files (`md5` and `relpath`, sorted by path) with `.dir` behind it. So a dataset digest
in MLflow, a version in Dagster and a hash in dvc.lock can be compared letter by letter
(source: dvc_data.hashfile.tree.Tree.as_bytes). The mark of an output is left out, as `.dvcignore`
leaves it out for DVC. MD5 names content here; it guards nothing.
"""

import hashlib
import json
from pathlib import Path

from llm_core.runtime.outputs import MARK

CHUNK_BYTES = 1 << 20


def file_digest(path: Path, algorithm: str = "md5") -> str:
    """Hexadecimal digest of one file's bytes, read in chunks."""
    digest = hashlib.new(algorithm, usedforsecurity=algorithm != "md5")
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """Digest of a file or a folder, equal to the `md5` that DVC records for it.

    Raises FileNotFoundError when there is nothing at `path`.
    """
    path = Path(path)
    if path.is_file():
        return file_digest(path)
    if not path.is_dir():
        raise FileNotFoundError(path)
    files = sorted(
        (file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file() and file.name != MARK
    )
    entries = [{"md5": file_digest(file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def short_hash(*parts: str) -> str:
    """128-bit hexadecimal BLAKE2 hash of `parts`, unambiguous about where one part ends."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
