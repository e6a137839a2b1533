"""Sources that grow by Common Crawl snapshots: a crawl is a partition, and a sensor finds new ones.

`crawl` of a source in params.yaml is one crawl's id, `newest`, or a list of ids. A list becomes the partitioned asset
`crawls_SOURCE` beside the source's own stage. To materialize a partition adds that crawl to the list in params.yaml and
runs the stage `download`, which takes the files of the other crawls from its cache; a backfill adds several, one run
after the other. DVC alone knows what is made: the sensor `mirror_dvc_lock` reads the crawls in dvc.lock, so that a list
edited by hand and a `dvc repro` in a shell show the same partitions. A crawl taken out of the list is no partition any
more; put into the list again, it is one as soon as it is made again, because Dagster keeps its old materialization.
"""

import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
from ruamel.yaml import YAML, YAMLError

from llm_core.errors import UserError
from llm_core.runtime.storage import output_file
from pipelines.dvc_project import DvcProject
from pipelines.graph import identifier
from pipelines.metadata import stage_metadata
from pipelines.stage_run import run_stage

SNAPSHOT_SECONDS = 6 * 3600
FORCE_TAG = "pipeline/force"  # stages that a run repeats although nothing in the working copy changed
PARAMS = "params.yaml"


def crawl_lists(project: DvcProject) -> dict[str, list[str]]:
    """The sources of the default graph whose `crawl` is a list, and that list."""
    return {
        source: list(settings["crawl"])
        for source, settings in common_crawl_sources(project.root).items()
        if isinstance(settings.get("crawl"), list) and f"download@{source}" in project.stages
    }


def crawls_key(source: str) -> dg.AssetKey:
    """Key of a source's partitioned asset."""
    return dg.AssetKey(f"crawls_{identifier(source)}")


def crawl_assets(project: DvcProject, group: str) -> Iterator[dg.AssetsDefinition]:
    """The partitioned asset of each source with a list of crawls."""
    for source in crawl_lists(project):
        yield _asset(project.root, source, group)


def _asset(root: Path, source: str, group: str) -> dg.AssetsDefinition:
    stage = f"download@{source}"

    @dg.asset(
        key=crawls_key(source),
        partitions_def=dg.DynamicPartitionsDefinition(name=crawls_key(source).to_user_string()),
        group_name=group,
        kinds={"dvc", "parquet"},
        owners=["team:pipeline"],
        description=f"Snapshots of Common Crawl in the source {source}. A partition adds its crawl to "
        f"`sources.{source}.crawl` in params.yaml, and runs `dvc repro --single-item {stage}`.",
        metadata={"source": source, "runs": stage},
    )
    def crawls(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        params, crawl = root / PARAMS, context.partition_key
        before = params.read_bytes()
        added = add_crawl(params, source, crawl)
        written = params.read_bytes()
        try:
            run = run_stage(context, root, stage)
        except BaseException:
            if added:  # an id that does not exist must not stay in the list
                try:
                    withdraw_crawl(params, source, crawl, written, before)
                except (YAMLError, OSError) as error:  # of a file that was edited meanwhile
                    context.log.warning(f"{crawl} is still in sources.{source}.crawl of {PARAMS}: {error}")
            raise
        with DvcProject(root) as project:
            if crawl not in (locked := locked_crawls(project, source)):
                raise dg.Failure(
                    f"{crawl} is not among the crawls that {stage} was made of, by dvc.lock ({', '.join(locked)}); "
                    f"was {PARAMS} edited meanwhile?"
                )
            facts = stage_metadata(project, project.stages[stage])
        return dg.MaterializeResult(metadata={**facts, "added to params.yaml": added, "seconds": round(run.seconds, 2)})

    return crawls


def add_crawl(params: Path, source: str, crawl: str) -> bool:
    """Append a crawl to a source's list in a params file, comments kept; False where it is in the list."""
    yaml, values = _loaded(params)
    crawls = values["sources"][source]["crawl"]
    if crawl in crawls:
        return False
    crawls.append(crawl)
    _replace(params, _text(yaml, values))
    return True


def withdraw_crawl(params: Path, source: str, crawl: str, written: bytes, before: bytes) -> None:
    """Undo `add_crawl`, which made `written` of `before`: of a file that was edited since, take out the crawl alone.

    Raises YAMLError where the edited file is no YAML, and leaves it as it is.
    """
    if params.read_bytes() == written:
        _replace(params, before)
        return
    yaml, values = _loaded(params)
    crawls = ((values or {}).get("sources") or {}).get(source, {}).get("crawl")
    if isinstance(crawls, list) and crawl in crawls:
        crawls.remove(crawl)
        _replace(params, _text(yaml, values))


def _loaded(params: Path) -> tuple[YAML, Any]:
    from llm_core.params.reading import keeping_comments

    yaml = keeping_comments(width=4096)
    return yaml, yaml.load(params.read_text(encoding="utf-8"))


def _text(yaml: YAML, values: Any) -> bytes:
    from llm_core.params.reading import to_text

    return to_text(yaml, values).encode()


def _replace(file: Path, content: bytes) -> None:
    with output_file(file, "wb") as stream:
        stream.write(content)


class CrawlChanges(NamedTuple):
    """What Dagster lacks about crawls: partitions to add or delete, and materializations."""

    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]
    made: list[dg.AssetMaterialization]

    def __bool__(self) -> bool:
        return bool(self.requests or self.made)

    @property
    def names(self) -> list[str]:
        """For the log."""
        return [f"{event.asset_key.to_user_string()} {event.partition}" for event in self.made]


def crawl_changes(project: DvcProject, instance: dg.DagsterInstance) -> CrawlChanges:
    """What dvc.lock says about crawls and Dagster does not know yet."""
    found = CrawlChanges([], [])
    for source, listed in crawl_lists(project).items():
        key, name = crawls_key(source), crawls_key(source).to_user_string()
        made = locked_crawls(project, source)
        known = set(instance.get_dynamic_partitions(name))
        materialized = instance.get_materialized_partitions(key)
        unmade = [crawl for crawl in listed if crawl not in materialized]
        if new := [crawl for crawl in dict.fromkeys([*made, *unmade]) if crawl not in known]:
            found.requests.append(dg.AddDynamicPartitionsRequest(name, new))
        if gone := sorted((known & materialized) - {*made}):
            found.requests.append(dg.DeleteDynamicPartitionsRequest(name, gone))
        for crawl in made:
            if crawl not in materialized:
                facts = {"mirrored from": "dvc.lock (the crawl is in the source's list)"}
                found.made.append(dg.AssetMaterialization(key, partition=crawl, metadata=facts))
    return found


def locked_crawls(project: DvcProject, source: str) -> list[str]:
    """The crawls that a source's documents were made of, by dvc.lock; [] before the first run."""
    params: Mapping[str, Any] = project.lock.get(f"download@{source}", {}).get("params", {}).get(PARAMS, {})
    crawl = (params.get(f"sources.{source}") or {}).get("crawl")
    return list(crawl) if isinstance(crawl, list) else []


def snapshot_sensor(loaded: DvcProject, target: dg.AssetSelection) -> dg.SensorDefinition:
    """The sensor that requests a run for a new Common Crawl snapshot: the source's download and the stages after it.

    It acts for sources with `crawl: newest`. For a list it adds a partition, which somebody materializes; for a pinned
    crawl it only reports the newer one. Files of an older snapshot come from the downloader's cache.
    """
    root = loaded.root

    @dg.sensor(
        name="new_common_crawl",
        minimum_interval_seconds=SNAPSHOT_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        target=target,
        description="Downloads a Common Crawl snapshot that has appeared, for sources with `crawl: newest`.",
    )
    def snapshot(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        seen: dict[str, str] = json.loads(context.cursor or "{}")
        requests, partitions, notes = [], [], []
        with DvcProject(root) as project:
            for source, settings in common_crawl_sources(root).items():
                stage = f"download@{source}"
                if stage not in project.stages:
                    continue
                newest = newest_crawl(settings.get("index", "https://index.commoncrawl.org"))
                if isinstance(settings["crawl"], list):
                    name = crawls_key(source).to_user_string()
                    if newest not in context.instance.get_dynamic_partitions(name):
                        partitions.append(dg.AddDynamicPartitionsRequest(name, [newest]))
                    elif newest not in settings["crawl"]:
                        notes.append(f"{source}: materialize the partition {newest} of {name} to add it")
                elif settings["crawl"] != "newest":
                    notes.append(f"{source} stays at {settings['crawl']} (newest: {newest}); `crawl` in params.yaml")
                elif seen.get(source) != newest:
                    below = [s for s in project.stages.values() if stage in (s.name, *project.ancestors(s.name))]
                    requests.append(
                        dg.RunRequest(
                            run_key=f"{source}:{newest}",
                            asset_selection=[dg.AssetKey(s.key) for s in below if not s.experiment],
                            tags={FORCE_TAG: stage.replace("@", "."), "pipeline/crawl": newest},
                        )
                    )
                    seen[source] = newest
        if not requests and not partitions:
            return dg.SkipReason("; ".join(notes) or "no new snapshot")
        return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=partitions, cursor=json.dumps(seen))

    return snapshot


def common_crawl_sources(root: Path) -> dict[str, dict[str, Any]]:
    """Sources of params.yaml that come from Common Crawl. Raises UserError where it has no mapping of sources.

    Read as DVC reads it: the params' models would take a fifth of the start of each run's worker.
    """
    from dvc.utils.serialize import load_yaml

    values = load_yaml(root / PARAMS) or {}
    sources = (values.get("sources") or {}) if isinstance(values, dict) else None
    if not isinstance(sources, dict) or not all(isinstance(source, dict) for source in sources.values()):
        raise UserError(f"{root / PARAMS}: `sources` must map each source's name to its settings")
    return {name: source for name, source in sources.items() if source.get("kind") == "common_crawl"}


def newest_crawl(index: str) -> str:
    """Id of the newest crawl that an index server lists."""
    with urllib.request.urlopen(f"{index.rstrip('/')}/collinfo.json", timeout=60) as answer:
        return str(json.load(answer)[0]["id"])
