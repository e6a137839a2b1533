"""The documents of the three arms.

Control: the training side of the split as it is. Treatment: the raw documents through cleaning,
deduplication and decontamination with the changed params. Negative control: the control's
documents minus as many bytes as the treatment changed (half of a source at most), source by source,
drawn by a hash: it shows the effect of exchanging any documents of that size. The held-out texts are
the control's in all arms. Near-copies of them that the treatment lets in again are removed from its arm
(13-grams, as for benchmarks), together with documents of the same group (`split.group_by`).
"""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_core.corpus.cleaning.stage import clean
from llm_core.corpus.decontamination.stage import decontaminate
from llm_core.corpus.deduplication.stage import dedup
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, read_documents
from llm_core.formats.schema import read_metadata
from llm_core.params import Params
from llm_core.runtime import json_lines
from llm_core.runtime.digests import short_hash

NAMES = ("control", "treatment", "negative")
RECIPE = ("cleaning", "deduplication", "decontamination")  # sections that a change may touch
Sizes = dict[str, tuple[str, str, int]]  # id -> (source, digest of the text, UTF-8 bytes)


@dataclass(frozen=True)
class Project:
    """Folders of the finished default run."""

    data: Path
    takedowns: Path

    @property
    def split(self) -> Path:
        """Folder of the split."""
        return self.data / "split"


def check_change(changes: list[str]) -> None:
    """Raise UserError for a change outside the data recipe."""
    for change in changes:
        section = change.partition(".")[0]
        if section not in RECIPE:
            raise UserError(f"--change {change}: an ablation changes one of {', '.join(RECIPE)}")
    if not changes:
        raise UserError("--change KEY=VALUE is missing: the param that differs in the treatment")


def treatment(project: Project, changed: Params, out: Path) -> Path:
    """Run the data stages with the changed params on `data/raw`; returns the folder of the treatment's documents."""
    cleaned = []
    for source in changed.sources:
        raw = project.data / "raw" / source
        if not raw.is_dir():
            raise UserError(f"{raw}: no such folder; run the default graph first (dvc repro)")
        cleaned.append(str(out / "clean" / source))
        clean([raw], Path(cleaned[-1]), changed.cleaning, sources=list(changed.sources), launch=changed.launch.cleaning)
    dedup(cleaned, out / "dedup", changed.deduplication, changed.seed, list(changed.sources), project.takedowns)
    benchmarks = str(project.data / "benchmarks")
    decontaminate([str(out / "dedup")], [benchmarks], out / "decontaminated", changed.decontamination)
    heldout = out / "heldout.jsonl"
    groups = _heldout_items(project.split / "heldout", heldout, changed.split.group_by)
    unseen = changed.decontamination.model_copy(update={"ngram": 13, "threshold": 0.5})
    decontaminate([str(out / "decontaminated")], [str(heldout)], out / "unseen", unseen)
    with DocumentWriter(out / "train/documents") as writer:
        for batch in read_documents(out / "unseen"):
            apart = [not (_groups(row, changed.split.group_by) & groups) for row in batch.to_pylist()]
            writer.write(batch.filter(pa.array(apart, pa.bool_())))
    return out / "train"


def negative(control: Path, changed: Path, out: Path, seed: int) -> Path:
    """Write the control's documents minus as many bytes of each source as `changed` moved; returns their folder.

    Half of a source's bytes stay in any case, so that there is something to train on.
    """
    before, after = sizes(control), sizes(changed)
    wanted: Counter[str] = Counter()
    for moved in (before.items() - after.items(), after.items() - before.items()):
        for _, (source, _, size) in moved:
            wanted[source] += size
    available: Counter[str] = Counter()
    for source, _, size in before.values():
        available[source] += size
    dropped: set[str] = set()
    left = available.copy()
    for name in sorted(before, key=lambda name: short_hash("negative control", str(seed), name)):
        source, _, size = before[name]
        if wanted[source] >= size / 2 and left[source] - size >= available[source] / 2:
            dropped.add(name)
            wanted[source] -= size
            left[source] -= size
    with DocumentWriter(out / "train/documents") as writer:
        for batch in read_documents(control):
            writer.write(batch.filter(pa.array([name not in dropped for name in batch.column("id").to_pylist()])))
    return out / "train"


def sizes(folder: Path) -> Sizes:
    """Source, digest of the text and size of each document of a folder."""
    found: Sizes = {}
    for batch in read_documents(folder, ["id", "source", "text"]):
        for row in batch.to_pylist():
            text = row["text"]
            found[row["id"]] = row["source"], short_hash(text), len(text.encode("utf-8", "surrogatepass"))
    return found


def moved(control: Path, arm: Path) -> list[dict[str, Any]]:
    """For each source: documents of the control and of the arm, and how many are missing, added or changed in the
    arm."""
    before, after = sizes(control), sizes(arm)
    rows = []
    for source in sorted({source for source, _, _ in [*before.values(), *after.values()]}):
        old = {name: value for name, value in before.items() if value[0] == source}
        new = {name: value for name, value in after.items() if value[0] == source}
        rows.append(
            {
                "source": source,
                "control": len(old),
                "arm": len(new),
                "removed": len(old.keys() - new.keys()),
                "added": len(new.keys() - old.keys()),
                "changed": sum(old[name] != new[name] for name in old.keys() & new.keys()),
                "control MB": round(sum(size for *_, size in old.values()) / 1e6, 3),
                "arm MB": round(sum(size for *_, size in new.values()) / 1e6, 3),
            }
        )
    return rows


def with_heldout(train: Path, heldout: Path, out: Path) -> Path:
    """A folder with the layout of a split: this training side and the control's held-out side."""
    shutil.copytree(train, out / "train")
    shutil.copytree(heldout, out / "heldout")
    return out


def _heldout_items(heldout: Path, out: Path, group_by: dict[str, str]) -> set[tuple[str, str]]:
    """Write the held-out texts as items to search for; returns their groups."""
    groups: set[tuple[str, str]] = set()
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, "w", encoding="utf-8") as stream:
        for batch in read_documents(heldout):
            for row in batch.to_pylist():
                groups |= _groups(row, group_by)
                stream.write(json_lines.dump({"id": row["id"], "text": row["text"]}))
    return groups


def _groups(row: dict[str, Any], group_by: dict[str, str]) -> set[tuple[str, str]]:
    """The keys of a document: its id, and its group where its source has one."""
    field = group_by.get(row["source"])
    value = read_metadata(row["metadata"]).get(field) if field else None
    return {("", row["id"])} | ({(row["source"], str(value))} if value is not None else set())
