"""The report's section about data: the way of the documents, the table of sources, and what was dropped and why."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.formats import names
from llm_core.formats.pages import Block, Row, begun
from llm_core.report.flow import Stage, flow_plot
from llm_core.runtime import json_lines
from llm_core.runtime.storage import read_json

EXCERPT = 300  # characters shown of a sampled drop
STAGES = {"dedup": "deduplicated", "decontaminated": "decontaminated"}


class Account(NamedTuple):
    """The documents of a run, as its stages' metrics count them; by source where a mapping."""

    documents: Mapping[str, int]
    """that cleaning read"""
    megabytes: Mapping[str, float]
    """that cleaning read"""
    stages: list[Stage]
    drops: list[Row]
    """source, stage, reason (as ledgers name it), documents, share of the source's documents at that stage"""
    split: Mapping[str, Row]
    tokens: Mapping[str, int]
    """of the sides `train` and `heldout`"""

    @property
    def dropped(self) -> dict[str, int]:
        """Documents by reason, over all stages and sources, the largest first."""
        found: dict[str, int] = {}
        for drop in self.drops:
            found[drop["reason"]] = found.get(drop["reason"], 0) + drop["documents"]
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def mix(self) -> dict[str, float]:
        """Share of the training bytes by source, the largest first; empty before the split."""
        sizes = {source: row["train_bytes"] for source, row in self.split.items()}
        total = sum(sizes.values())
        shares = {source: size / total for source, size in sizes.items()} if total else {}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def account(data: Path, sources: Collection[str] = ()) -> Account:
    """What the metrics of cleaning, deduplication, decontamination, split and tokenization below `data` say.

    Of cleaned documents those of `sources` count (of all, where it is empty): a source that params no longer name has
    left its folder behind.
    """
    cleaned = {path.name: _by_source(path) for path in _cleaned(data, sources)}
    rows = {source: row for found in cleaned.values() for source, row in found.items()}
    stages, drops = [], []
    for name, found in (("cleaned", rows), *((name, _by_source(data / folder)) for folder, name in STAGES.items())):
        if not found:
            continue
        dropped: dict[str, int] = {}
        for source, row in found.items():
            for reason, count in sorted(row.get("dropped_by_reason", {}).items()):
                share = count / max(row["documents_in"], 1)
                drops.append({"source": source, "stage": name, "reason": reason, "documents": count, "share": share})
                dropped[names.reason(reason)] = dropped.get(names.reason(reason), 0) + count
        kept = {source: row["documents_kept"] for source, row in found.items()}
        stages.append(Stage(name, kept, dropped))
    tokens = metrics(data / "tokens")
    return Account(
        {source: row["documents_in"] for source, row in rows.items()},
        {source: row["bytes_in"] / 1e6 for source, row in rows.items()},
        stages,
        drops,
        _by_source(data / "split"),
        {side: tokens[side]["tokens"] for side in ("train", "heldout") if side in tokens},
    )


def documents(data: Path, counted: Account, sources: Collection[str]) -> Iterator[Block]:
    """The section's blocks."""
    if not counted.documents:
        return
    yield Block("heading", "Data")
    ends = []
    for side, name in (("train", "for training"), ("heldout", "held out")):
        total = sum(row[f"{side}_documents"] for row in counted.split.values())
        told = f"{names.large(counted.tokens[side])} tokens" if side in counted.tokens else ""
        if counted.split:
            ends.append((name, total, told))
    plot = flow_plot(counted.documents, counted.stages, ends)
    caption = "Documents from sources to tokens; below, the dropped ones by reason"
    rows = list(_sources(counted))
    shown = {"documents": "documents", "MB": "MB", "for training": "for training", "share of training bytes": "mix"}
    table = [{"source": row["source"]} | {title: row[name] for name, title in shown.items()} for row in rows]
    beside = [Block("table", table), Block("folded", rows, "The documents of each source after every stage")]
    drops = [drop | {"reason": names.reason(drop["reason"]), "share": names.percent(drop["share"])}
             for drop in sorted(counted.drops, key=lambda drop: -drop["documents"])]  # fmt: skip
    beside.append(Block("folded", drops, "What was dropped, by source and reason"))
    beside.append(Block("group", list(_sampled_drops(data, sources)), "Samples of dropped documents"))
    yield Block("pair", [Block("figure", plot, caption), Block("column", beside)])


def metrics(folder: Path) -> dict[str, Any]:
    """The metrics.json of a stage's folder; {} before the stage ran."""
    file = folder / "metrics.json"
    return read_json(file) if file.is_file() else {}


def _by_source(folder: Path) -> dict[str, Row]:
    return dict(metrics(folder).get("by_source", {}))


def _sources(counted: Account) -> Iterator[Row]:
    mix = counted.mix
    for source, count in counted.documents.items():
        row: Row = {"source": source, "documents": count, "MB": counted.megabytes[source]}
        row |= {stage.name: stage.kept.get(source) for stage in counted.stages}
        side = counted.split.get(source, {})
        row |= {"for training": side.get("train_documents"), "held out": side.get("heldout_documents")}
        yield row | {"share of training bytes": names.percent(mix[source]) if source in mix else None}


def _cleaned(data: Path, sources: Collection[str]) -> list[Path]:
    return [path for path in sorted((data / "clean").glob("*")) if not sources or path.name in sources]


def _sampled_drops(data: Path, sources: Collection[str]) -> Iterator[Block]:
    """The drops that `clean` sampled, a folded table for each source and reason."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for folder in _cleaned(data, sources):
        for drop in json_lines.load_rows(folder / "drops.jsonl", missing_ok=True):
            excerpt = " ".join(drop["excerpt"].split())
            row = {name: drop[name] for name in ("score", "characters", "language")}
            row["begins"] = begun(excerpt, EXCERPT)
            groups.setdefault((drop["source"], drop["reason"]), []).append(row | {"url": drop["url"]})
    for (source, reason), rows in sorted(groups.items()):
        yield Block("folded", rows, f"{source}: {names.reason(reason)} ({len(rows)})")
