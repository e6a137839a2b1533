"""The sensor for a new Common Crawl snapshot, against an index server on loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest
from dagster import AddDynamicPartitionsRequest

from llm_core.errors import UserError
from pipelines.snapshots import add_crawl, common_crawl_sources, withdraw_crawl
from tests.pipelines import toy_project as toy
from tests.pipelines.dagster_view import mirror

DOWNLOAD = """\
  download:
    foreach: ${sources}
    do:
      cmd: python code/fetch.py data/fetched/${key}
      deps: [code/fetch.py]
      outs: ["data/fetched/${key}"]
  gather:
    cmd: python code/stage.py join data/gathered data/fetched
    deps: [data/fetched]
    outs: [data/gathered]
"""
FETCH = """\
import sys, urllib.request
from pathlib import Path
from llm_core.formats.documents import DocumentWriter
out = Path(sys.argv[1])
text = urllib.request.urlopen("ADDRESS/collinfo.json").read().decode().replace(" ", "")
with DocumentWriter(out / "documents") as writer:
    writer.write_rows([{"id": "1", "source": "web", "text": text, "license": "public domain"}])
(out / "words.txt").write_text(text)
"""


class Index(HTTPServer):
    """An index server that lists the snapshots in `crawls`, newest first."""

    crawls = ("CC-MAIN-2026-40",)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([{"id": crawl} for crawl in self.server.crawls]).encode())  # type: ignore[attr-defined]

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[Index]:
    server = Index(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_new_snapshot_is_downloaded_once(
    project: Path, index: Index, instance: dg.DagsterInstance, definitions: Callable[[Path], dg.Definitions]
) -> None:
    address = f"http://127.0.0.1:{index.server_port}"
    with open(project / "dvc.yaml", "a") as stream:
        stream.write(DOWNLOAD)
    (project / "code/fetch.py").write_text(FETCH.replace("ADDRESS", address))
    crawl = f"{{words: 12, kind: common_crawl, index: '{address}', crawl: newest}}"
    toy.edit(project, "params.yaml", "a: {words: 12}", f"a: {crawl}")
    toy.edit(project, "params.yaml", "b: {words: 5}", f"b: {crawl.replace('newest', 'CC-MAIN-2026-30')}")
    toy.repro(project, "gather")
    mirror(project, instance)
    repository = definitions(project).get_repository_def()
    sensor = repository.get_sensor_def("new_common_crawl")

    def tick(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(instance, cursor=cursor, repository_def=repository) as context:
            return sensor(context)  # type: ignore[return-value]

    first = tick(None)
    assert isinstance(first, dg.SensorResult) and first.run_requests
    index.crawls = ("CC-MAIN-2026-44", *index.crawls)
    second = tick(first.cursor)
    assert isinstance(second, dg.SensorResult) and second.run_requests
    (request,) = second.run_requests
    assert request.run_key == "a:CC-MAIN-2026-44"
    chosen = [key.to_user_string() for key in request.asset_selection or ()]
    assert chosen == ["download_a", "gather"], "the source and what is below it; b is pinned"
    assert isinstance(tick(second.cursor), dg.SkipReason), "a snapshot asks once"

    job = repository.get_job("whole_graph")
    assert "CC-MAIN-2026-44" not in (project / "data/gathered/documents/words.txt").read_text()
    done = job.execute_in_process(
        instance=instance, asset_selection=list(request.asset_selection or ()), tags=dict(request.tags)
    )
    assert done.success
    assert "CC-MAIN-2026-44" in (project / "data/gathered/documents/words.txt").read_text()


GROWING = """\
import sys, yaml
from pathlib import Path
from llm_core.formats.documents import DocumentWriter
out = Path(sys.argv[1])
crawls = yaml.safe_load(open("params.yaml"))["sources"]["a"]["crawl"]
if "CC-MAIN-1999-01" in crawls:
    with open("params.yaml", "a") as stream:
        stream.write("edited: meanwhile # by a user\\n")
    sys.exit("404 Not Found")
if "CC-MAIN-1999-02" in crawls:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace(", CC-MAIN-1999-02", ""))
with DocumentWriter(out / "documents") as writer:
    writer.write_rows([{"id": crawl, "source": "a", "text": crawl, "license": "public domain"} for crawl in crawls])
(out / "words.txt").write_text(" ".join(crawls))
"""


def test_a_crawl_is_a_partition(
    project: Path, index: Index, instance: dg.DagsterInstance, definitions: Callable[[Path], dg.Definitions]
) -> None:
    """Partitions come from dvc.lock; to materialize one adds its crawl to params.yaml and runs the stage."""
    with open(project / "dvc.yaml", "a") as stream:
        stream.write(
            DOWNLOAD.replace("deps: [code/fetch.py]", 'deps: [code/fetch.py]\n      params: ["sources.${key}"]')
        )
    (project / "code/fetch.py").write_text(GROWING)
    crawl = f"words: 12, kind: common_crawl, index: 'http://127.0.0.1:{index.server_port}', crawl: [CC-MAIN-2026-40]"
    toy.edit(project, "params.yaml", "a: {words: 12}", f"a: {{{crawl}}} # grows")
    toy.repro(project, "download@a")
    repository = definitions(project).get_repository_def()
    key, partitions = dg.AssetKey("crawls_a"), "crawls_a"

    def tick(name: str) -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(instance, repository_def=repository) as context:
            found = repository.get_sensor_def(name)(context)
        if isinstance(found, dg.SensorResult):  # what the daemon does with it
            for request in found.dynamic_partitions_requests or ():
                for one in request.partition_keys:
                    if isinstance(request, AddDynamicPartitionsRequest):
                        instance.add_dynamic_partitions(request.partitions_def_name, [one])
                    else:
                        instance.delete_dynamic_partition(request.partitions_def_name, one)
            for event in found.asset_events or ():
                instance.report_runless_asset_event(event)  # type: ignore[arg-type]
        return found  # type: ignore[return-value]

    tick("mirror_dvc_lock")
    assert instance.get_dynamic_partitions(partitions) == ["CC-MAIN-2026-40"]
    assert instance.get_materialized_partitions(key) == {"CC-MAIN-2026-40"}, "made in a shell"
    index.crawls = ("CC-MAIN-2026-44", *index.crawls)
    tick("new_common_crawl")
    assert instance.get_dynamic_partitions(partitions) == ["CC-MAIN-2026-40", "CC-MAIN-2026-44"]

    asset = repository.assets_defs_by_key[key]
    assert dg.materialize([asset], partition_key="CC-MAIN-2026-44", instance=instance).success
    assert "crawl: [CC-MAIN-2026-40, CC-MAIN-2026-44]} # grows" in (project / "params.yaml").read_text()
    assert (project / "data/fetched/a/words.txt").read_text() == "CC-MAIN-2026-40 CC-MAIN-2026-44"
    assert instance.get_materialized_partitions(key) == {"CC-MAIN-2026-40", "CC-MAIN-2026-44"}

    instance.add_dynamic_partitions(partitions, ["CC-MAIN-1999-01"])
    before = (project / "params.yaml").read_text()
    with pytest.raises(dg.Failure, match="404 Not Found"):
        dg.materialize([asset], partition_key="CC-MAIN-1999-01", instance=instance)
    edited = f"{before}edited: meanwhile # by a user\n"
    assert (project / "params.yaml").read_text().split() == edited.split(), (
        "only the crawl that could not be fetched is taken out"
    )
    instance.add_dynamic_partitions(partitions, ["CC-MAIN-1999-02"])
    with pytest.raises(dg.Failure, match="1999-02 is not among the crawls that download@a was made of"):
        dg.materialize([asset], partition_key="CC-MAIN-1999-02", instance=instance)

    toy.edit(project, "params.yaml", "CC-MAIN-2026-40, ", "")
    toy.repro(project, "download@a")
    tick("mirror_dvc_lock")
    assert "CC-MAIN-2026-40" not in instance.get_dynamic_partitions(partitions), "taken out of the list in a shell"
    toy.edit(project, "params.yaml", "[CC-MAIN-2026-44", "[CC-MAIN-2026-40, CC-MAIN-2026-44")
    tick("mirror_dvc_lock")
    assert "CC-MAIN-2026-40" not in instance.get_dynamic_partitions(partitions), "would be shown as made"
    toy.repro(project, "download@a")
    tick("mirror_dvc_lock")
    assert "CC-MAIN-2026-40" in instance.get_dynamic_partitions(partitions)


def test_what_a_failed_crawl_leaves_in_params(tmp_path: Path) -> None:
    """The bytes before, where nobody has edited the file; else the edited file without the crawl."""
    params = tmp_path / "params.yaml"
    before = "sources:\n   a: {crawl: [one]}   # grows\n"
    params.write_text(before)
    assert add_crawl(params, "a", "two") and "[one, two]" in params.read_text()
    written = params.read_bytes()
    withdraw_crawl(params, "a", "two", written, before.encode())
    assert params.read_text() == before
    for edited, left in [
        ("# mine\nsources: {a: {crawl: [two, three]}}\n", "# mine\nsources: {a: {crawl: [three]}}\n"),
        ("sources: {a: {crawl: newest}}\n", "sources: {a: {crawl: newest}}\n"),
        ("sources:\n", "sources:\n"),
        ("", ""),
    ]:
        params.write_text(edited)
        withdraw_crawl(params, "a", "two", written, before.encode())
        assert params.read_text() == left


def test_downloads_alone_are_tried_again(project: Path, definitions: Callable[[Path], dg.Definitions]) -> None:
    with open(project / "dvc.yaml", "a") as stream:
        stream.write(DOWNLOAD.replace("foreach: ${sources}", "foreach: [a]").replace("${key}", "${item}"))
        stream.write("  pretrain:\n    cmd: 'true'\n    deps: [data/gathered]\n    outs: [data/model]\n")
    (project / "code/fetch.py").write_text(FETCH)
    repository = definitions(project).get_repository_def()
    policies = {
        node.name: (node.retry_policy, getattr(node, "pool", None))
        for node in repository.get_job("whole_graph").all_node_defs
    }
    retry, _ = policies["download_a"]
    assert retry is not None and (retry.max_retries, retry.backoff) == (3, dg.Backoff.EXPONENTIAL)
    assert policies["pretrain"] == (None, "training"), "a training that fails would fail again, at its price"
    assert policies["gather"] == (None, None)


@pytest.mark.parametrize("text", ["- web", "sources: [web]", "sources: {web: here}"])
def test_params_without_a_mapping_of_sources_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text("sources:\n")
    assert common_crawl_sources(tmp_path) == {}
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml: `sources` must map"):
        common_crawl_sources(tmp_path)
