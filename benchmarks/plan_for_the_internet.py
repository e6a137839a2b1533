"""Hours, bytes, files and money for 1, 10 and 100 TB of WARC on 8 to 1,000 nodes, from measured unit costs.

    python -m benchmarks.plan_for_the_internet                                   # the tables
    python -m benchmarks.plan_for_the_internet --set cores=32 --set price=0.02   # with other figures
    python -m benchmarks.plan_for_the_internet --write                           # into the page of the docs

Every figure says where it is from: measured (`benchmarks/unit_costs.py`, `benchmarks/tokenization.py`), or assumed.
The model is that of the engine as it is: nodes do the work on pieces, one process starts the stage and appends all
results. Where it appends while nodes work, the slower of both counts; `dedup` and `split` first see all documents, then
compare and write, so both count.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.scheduler_simulation import TOLERANCE, Trouble, expected_hours, simulate
from llm_core.formats.documents import LEDGER_ROW_BYTES, SHARD_BYTES
from llm_core.formats.pieces import PIECE_BYTES
from llm_core.formats.token_shards import SHARD_TOKENS

PAGE = Path(__file__).parents[1] / "docs/explanation/plan-for-the-internet.md"
SIZES, NODES = (1, 10, 100), (8, 64, 250, 1000)
MILLION, TB = 1e6, 1e12
MANY = 100_000  # nodes, where the question is what more nodes cannot help
SURVIVED = 0.9  # of the documents that were measured, a tenth were near-duplicates, so later stages had so many


@dataclass(frozen=True)
class Figure:
    value: float
    meaning: str
    source: str


def measured(value: float, meaning: str, source: str = "`unit_costs`") -> Figure:
    return Figure(value, meaning, f"measured: {source}")


def assumed(value: float, meaning: str, reason: str) -> Figure:
    return Figure(value, meaning, f"**assumption**: {reason}")


FIGURES = {
    "extract": measured(431_139, "`extract`, nodes: CPU s for 1 TB of compressed WARC"),
    "append": measured(0.0148, "`extract`, starting process: CPU s for 1 MB of text (4,996 s for 338 GB)"),
    "clean": measured(190_904, "`clean` (repair, language, FineWeb's rules, PII), nodes: CPU s for 1 TB of text"),
    "append_clean": measured(0.0092, "`clean`, starting process: CPU s for 1 MB of kept text (0.091 s for 9.9 MB)"),
    "ledger": measured(2.5, "`clean`, starting process: CPU s for a million pages in its ledger (2.4 to 3.4)"),
    "dedup": measured(85.1, "`dedup`, nodes: CPU s for a million documents of 500 words"),
    "dedup_driver": measured(26.9, "`dedup`, starting process: the same"),
    "dedup_ray": measured(4_209, "`dedup`, bytes through Ray for a document of 500 words"),
    "dedup_scratch": measured(4_291, "`dedup`, bytes on the starting process's disk for a document of 500 words"),
    "columns": measured(228, "of these, bytes that do not depend on the words (from 100 and 500 words)"),
    "decontaminate": measured(72.3 / SURVIVED, "`decontaminate`, nodes: CPU s for a million documents of 500 words"),
    "decontaminate_driver": measured(21.2 / SURVIVED, "`decontaminate`, starting process: the same"),
    "split": measured(68.6 / SURVIVED, "`split`, nodes: CPU s for a million documents of 500 words"),
    "split_driver": measured(25.1 / SURVIVED, "`split`, starting process: the same"),
    "split_ray": measured(3_852 / SURVIVED, "`split`, bytes through Ray for a document of 500 words"),
    "tokenizer": measured(19.2 / SURVIVED, "`train-tokenizer`, nodes: CPU s for a million documents of 500 words"),
    "sample": measured(15.7, "`train-tokenizer`: MB of its sample counted and merged in a CPU s", "`tokenization`"),
    "tokenize": measured(74.5 / SURVIVED, "`tokenize`, nodes: CPU s for a million documents of 500 words"),
    "tokenize_driver": measured(1.4 / SURVIVED, "`tokenize`, starting process: the same"),
    "words_bytes": measured(2_933, "bytes of text of a document of 500 words"),
    "token_bytes": measured(1_561 / SURVIVED, "bytes of its tokens on disk (vocabulary of 4,096)"),
    "disk_share": measured(0.46, "bytes on disk for a byte of text, as zstd Parquet (1,348 of 2,933)"),
    "text_bytes": measured(4_390, "bytes of text of an extracted page (three sample crawls, 1,581 pages)"),
    "warc_files": assumed(1_000, "WARC files in a TB; one is one piece", "1 GB each, as Common Crawl publishes them"),
    "pages": assumed(30e6, "pages in a TB", "120,000 in 4 GB (`presets/web.yaml`); our samples have smaller pages"),
    "kept": assumed(0.15, "share of pages that `clean` keeps", "English alone, and FineWeb's rules"),
    "copies": assumed(0.3, "share of them that `dedup` drops", "differs much between crawls"),
    "sample_bytes": assumed(2 << 30, "bytes of text that the tokenizer is trained on", "`presets/web.yaml`"),
    "cores": assumed(16, "cores of a node, one piece each", "a usual machine"),
    "network": assumed(1.25, "GB/s between the starting process's machine and the others", "10 Gbit/s"),
    "storage": assumed(10.0, "GB/s that the shared storage gives all nodes together", "a usual parallel file system"),
    "disk": assumed(2.0, "TB of disk for scratch files where the starting process runs", "a usual machine"),
    "memory": assumed(64.0, "GB of memory there", "a usual machine"),
    "task": assumed(0.005, "s of the starting process for a piece, in Ray", "not measured (decision 0170)"),
    "price": assumed(0.04, "dollars for a CPU hour; nodes are paid while they wait", "set your own"),
    "spread": assumed(0.2, "a piece takes up to this share more or less", "WARC files differ"),
    "slow_share": assumed(0.02, "share of nodes that are slow, at least one", "shared machines"),
    "slowness": assumed(2.0, "times as long that a piece takes there", "shared machines"),
    "deaths": assumed(1_000.0, "hours between deaths of a node, mean", "machines that may be taken away"),
    "away": assumed(0.25, "hours until there is another", "a scheduler that replaces nodes"),
}  # fmt: skip

Values = dict[str, float]


@dataclass(frozen=True)
class Stage:
    """One stage on one size of input."""

    name: str
    pieces: int
    nodes: float
    """CPU seconds on nodes"""
    driver: float
    """seconds of the starting process while nodes work"""
    after: float
    """seconds of the starting process when they are done"""
    read: float
    """bytes that nodes read from storage"""
    written: float
    """bytes that nodes write to storage"""
    appended: float
    """bytes that the starting process reads from storage, and writes"""
    ray: float
    """bytes through Ray"""
    files: int
    """files that stay"""


def stages(terabytes: float, of: Values) -> list[Stage]:
    """The path of `terabytes` of WARC to tokens."""
    pages = terabytes * of["pages"]
    text, kept = pages * of["text_bytes"], pages * of["kept"]
    left = kept * (1 - of["copies"])
    kept_text, left_text = kept * of["words_bytes"], left * of["words_bytes"]
    on_disk = of["disk_share"]

    def files(size: float, rows: float) -> int:
        return math.ceil(size / SHARD_BYTES) + math.ceil(rows * LEDGER_ROW_BYTES / SHARD_BYTES)

    def cut(size: float) -> int:
        return math.ceil(size / PIECE_BYTES)

    def sent(size: float) -> float:
        return size / of["network"] / 1e9

    def stage(
        name: str, pieces: int, nodes: float, driver: float, read: float, written: float, appended: float,
        count: int, ray: float = 0.0, whole: bool = False,
    ) -> Stage:  # fmt: skip
        own = driver + sent(appended + ray)
        streaming, after = (sent(ray), own - sent(ray)) if whole else (own, 0.0)
        calls = pieces * of["task"]
        return Stage(name, pieces, nodes, streaming + calls, after, read, written, appended, ray, count)

    warc, raw, few, fewer = terabytes * TB, text * on_disk, kept_text * on_disk, left_text * on_disk
    tokens, millions, rest = left * of["token_bytes"], kept / MILLION, left / MILLION
    trained = min(of["sample_bytes"], left_text) / of["sample"] / 1e6
    return [
        stage("extract", math.ceil(terabytes * of["warc_files"]), terabytes * of["extract"], text / 1e6 * of["append"],
              warc, raw, 2 * raw, files(text, pages)),
        stage("clean", cut(text), text / TB * of["clean"],
              kept_text / 1e6 * of["append_clean"] + pages / MILLION * of["ledger"], raw, few, 2 * few,
              files(kept_text, pages)),
        stage("dedup", cut(kept_text), millions * of["dedup"], millions * of["dedup_driver"], few, 0, few + fewer,
              files(left_text, kept), kept * of["dedup_ray"], whole=True),
        stage("decontaminate", cut(left_text), rest * of["decontaminate"], rest * of["decontaminate_driver"], fewer, 0,
              2 * fewer, files(left_text, left)),
        stage("split", cut(left_text), rest * of["split"], rest * of["split_driver"], fewer, 0, 2 * fewer,
              files(left_text, left), left * of["split_ray"], whole=True),
        stage("train-tokenizer", cut(left_text), rest * of["tokenizer"] + trained, 0, fewer, 0, 0, 3),
        stage("tokenize", cut(left_text), rest * of["tokenize"], rest * of["tokenize_driver"], fewer, tokens,
              2 * tokens, math.ceil(tokens / 2 / SHARD_TOKENS)),
    ]  # fmt: skip


def trouble_of(of: Values) -> Trouble:
    return Trouble(of["spread"], of["slow_share"], of["slowness"], of["deaths"], of["away"])


def hours(stage: Stage, nodes: int, of: Values) -> tuple[float, str]:
    """Hours of a stage, and what bounds them."""
    cores, each = int(of["cores"]), stage.nodes / stage.pieces
    computing = expected_hours(stage.pieces, each, nodes, cores, 0.0, trouble_of(of))
    together = expected_hours(stage.pieces, each, nodes, cores, stage.driver / stage.pieces, trouble_of(of))
    storage = (stage.read + stage.written) / of["storage"] / 1e9 / 3600
    own = (stage.driver + stage.after) / 3600
    bounds = {"starting process": own, "storage": storage}
    bounds["nodes" if stage.pieces > nodes * cores else "pieces"] = computing
    return max(together, storage) + stage.after / 3600, max(bounds, key=lambda name: bounds[name])


def whole(terabytes: float, nodes: int, of: Values) -> float:
    return sum(hours(stage, nodes, of)[0] for stage in stages(terabytes, of))


def half_way(terabytes: float, of: Values) -> int:
    """The number of nodes with which the path takes twice as long as with `MANY`."""
    least, low, high = whole(terabytes, MANY, of), 1, MANY
    while low < high:
        middle = (low + high) // 2
        if whole(terabytes, middle, of) > 2 * least:
            low = middle + 1
        else:
            high = middle
    return low


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def short(value: float) -> str:
    """Three digits or so: 0.0148, 1.3, 26.9, 4,209."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def size(value: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if value >= scale:
            return f"{short(value / scale)} {unit}"
    return f"{short(value / 1e6)} MB"


def figures_table(of: Values) -> str:
    rows = [[f"`{name}`", short(of[name]), figure.meaning, figure.source] for name, figure in FIGURES.items()]
    return table(["name", "value", "meaning", "source"], rows)


def hours_table(of: Values) -> str:
    """Hours and money of the whole path."""
    rows = []
    for terabytes in SIZES:
        for nodes in NODES:
            found = whole(terabytes, nodes, of)
            cpu = nodes * of["cores"] * found
            path = stages(terabytes, of)
            work = sum(stage.nodes for stage in path) / 3600
            alone = sum(hours(replace(stage, driver=0.0, after=0.0), nodes, of)[0] for stage in path)
            rows.append([
                f"{terabytes} TB", f"{nodes:,}", short(found), short(cpu), f"{work / cpu:.0%}",
                f"${cpu * of['price']:,.0f}", short(alone),
            ])  # fmt: skip
    return table(
        ["WARC", "nodes", "hours", "CPU hours paid", "of them at work", "money",
         "hours if the starting process had nothing to do"],
        rows,
    )  # fmt: skip


def stages_table(of: Values) -> str:
    """Hours of each stage, and what bounds it."""
    rows = []
    for terabytes in SIZES:
        for stage in stages(terabytes, of):
            cells = []
            for nodes in (NODES[0], NODES[1], NODES[-1]):
                found, bound = hours(stage, nodes, of)
                cells.append(f"{short(found) if found >= 0.01 else '< 0.01'} ({bound})")
            rows.append([f"{terabytes} TB", f"`{stage.name}`", f"{stage.pieces:,}", *cells])
    head = [f"hours on {nodes:,}" for nodes in (NODES[0], NODES[1], NODES[-1])]
    return table(["WARC", "stage", "pieces", *head], rows)


def bytes_table(of: Values) -> str:
    rows = []
    for terabytes in SIZES:
        path = stages(terabytes, of)
        kept = terabytes * of["pages"] * of["kept"]
        rows.append([
            f"{terabytes} TB", size(sum(stage.read for stage in path)), size(sum(stage.written for stage in path)),
            size(sum(stage.appended for stage in path)), size(sum(stage.ray for stage in path)),
            f"{sum(stage.files for stage in path):,}", f"{kept * (1 - of['copies']) / MILLION:,.1f} million",
        ])  # fmt: skip
    return table(
        ["WARC", "nodes read", "nodes write", "starting process reads and writes", "through Ray", "files that stay",
         "documents at the end"],
        rows,
    )  # fmt: skip


def limits_table(of: Values) -> str:
    """What one process and its machine have to take."""
    rows = []
    for terabytes in SIZES:
        path = stages(terabytes, of)
        own = {stage.name: (stage.driver + stage.after) / 3600 for stage in path}
        longest = max(own, key=lambda name: own[name])
        kept = terabytes * of["pages"] * of["kept"]
        scratch, columns = kept * of["dedup_scratch"], kept * of["columns"]
        rows.append([
            f"{terabytes} TB", f"{short(sum(own.values()))} ({longest}: {short(own[longest])})",
            f"{half_way(terabytes, of):,}", over(scratch, of["disk"] * 1e12), over(columns, of["memory"] * 1e9),
            f"{1 - math.exp(-own[longest] / of['deaths']):.1%}",
        ])  # fmt: skip
    return table(
        ["WARC", "hours of the starting process", "nodes from which more save less than half", "its scratch files",
         "its columns", "chance that its machine dies in the longest stage"],
        rows,
    )  # fmt: skip


def over(value: float, limit: float) -> str:
    return f"{size(value)} of {size(limit)}" + (" **too much**" if value > limit else "")


def extraction(terabytes: float, nodes: int, of: Values) -> list[str]:
    """A row: the extraction by formula and by simulation."""
    stage = stages(terabytes, of)[0]
    given = (stage.pieces, stage.nodes / stage.pieces, nodes, int(of["cores"]), stage.driver / stage.pieces)
    formula, found = expected_hours(*given, trouble_of(of)), simulate(*given, trouble_of(of))
    ratio = found.hours / formula
    return [f"{terabytes} TB", f"{nodes:,}", short(formula), short(found.hours), f"{ratio:.2f}", f"{found.deaths}",
            f"{found.repeated}"]  # fmt: skip


def simulation_table(of: Values) -> str:
    rows = [extraction(terabytes, nodes, of) for terabytes in SIZES[:2] for nodes in NODES]
    rows.append(extraction(SIZES[2], NODES[1], of))
    return table(["WARC", "nodes", "formula, hours", "simulated", "ratio", "nodes died", "pieces repeated"], rows)


TROUBLES = {
    "nothing": Trouble(),
    "pieces differ by 20 %": Trouble(0.2),
    "one node takes twice as long": Trouble(0.2, 0.01, 2),
    "one node takes 4 times as long": Trouble(0.2, 0.01, 4),
    "one node takes 8 times as long": Trouble(0.2, 0.01, 8),
    "a node dies every 10 hours of its time": Trouble(0.2, 0, 1, 10, 0.25),
    "the same, and one takes 4 times as long": Trouble(0.2, 0.01, 4, 10, 0.25),
}


def trouble_table(of: Values) -> str:
    """10 TB on 64 nodes, its results free of cost for the starting process, and what trouble does to it."""
    stage, rows = stages(SIZES[1], of)[0], []
    for name, trouble in TROUBLES.items():
        given = (stage.pieces, stage.nodes / stage.pieces, NODES[1], int(of["cores"]), of["task"])
        formula, found = expected_hours(*given, trouble), simulate(*given, trouble)
        ratio = f"{found.hours / formula:.2f}"
        rows.append([name, short(formula), short(found.hours), ratio, f"{found.deaths}", f"{found.repeated}"])
    return table(["trouble", "formula, hours", "simulated", "ratio", "nodes died", "pieces repeated"], rows)


TABLES: dict[str, Callable[[Values], str]] = {
    "hours": hours_table,
    "stages": stages_table,
    "limits": limits_table,
    "bytes": bytes_table,
    "simulation": simulation_table,
    "trouble": trouble_table,
    "figures": figures_table,
}


def defaults() -> Values:
    return {name: figure.value for name, figure in FIGURES.items()}


def filled(page: str, of: Values) -> str:
    """The page with what is between `<!-- table NAME -->` and `<!-- end -->` made anew."""
    for name, make in TABLES.items():
        before, start, rest = page.partition(f"<!-- table {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not start or not end:
            raise SystemExit(f"{PAGE.name} has no place for the table {name}")
        page = f"{before}{start}\n{make(of)}\n\n{end}{after}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", dest="given", action="append", default=[], metavar="NAME=VALUE", help="another figure")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    chosen = parser.parse_args()
    if chosen.write and chosen.given:
        parser.error("the page shows the figures of this file")
    of = defaults()
    for pair in chosen.given:
        name, _, value = pair.partition("=")
        if name not in of:
            parser.error(f"no figure {name}; there are {', '.join(of)}")
        of[name] = float(value)
    if chosen.write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), of), encoding="utf-8")
        return
    for make in TABLES.values():
        print(f"{make(of)}\n")
    print(f"Formula and simulation agree to {TOLERANCE:.0%} in the cases that the page shows.")


if __name__ == "__main__":
    main()
