"""Dataset card and training-data summary, computed from the ledgers.

The dataset card counts what was downloaded, what each stage dropped and why, and what is
left, by source, with licences, languages and dates. Sections follow Hugging Face's cards and the categories of the
training-data summary that EU Regulation 2024/1689, Article 53(1)(d), asks of providers.
Documents without a licence are an error, because the card could not state the terms of their use.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb

from llm_core.corpus import takedowns
from llm_core.errors import UserError
from llm_core.formats.documents import document_files
from llm_core.formats.pages import Block
from llm_core.lineage import sql
from llm_core.lineage.index import STAGES, connect, rows_of
from llm_core.params import Params
from llm_core.runtime.digests import content_digest
from llm_core.runtime.redaction import redact
from llm_core.runtime.storage import glob_files, local_files, read_json

FOLDERS = (
    "dedup/documents", "decontaminated/documents", "split/train", "split/heldout", "tokens/train", "tokens/heldout",
    "benchmarks",
)  # fmt: skip


def dataset_card(data: Path, params: Params, tombstones: Path = Path(takedowns.FILE)) -> list[Block]:
    """The dataset card of the data in the folder `data`.

    Raises UserError when documents that were kept have no licence.
    """
    database = connect()
    final = _kept_documents(data)
    check_licenses(database, final)
    return [
        Block("title", "Dataset card"),
        Block("text", _introduction(database, final)),
        Block("heading", "Sources"),
        Block("table", _sources(database, data, params)),
        Block("list", _origins(params)),
        Block("heading", "Licences"),
        Block("table", _query(database, final, "license, source")),
        Block("heading", "Languages"),
        Block("table", _query(database, final, "coalesce(language, 'not identified') AS language")),
        Block("heading", "Processing"),
        Block("list", _processing(params)),
        Block("table", _stages(database, data, params)),
        Block("text", "What was dropped, by reason:"),
        Block("table", _reasons(database, data, params)),
        Block("heading", "Removals"),
        *_removals(tombstones),
        Block("heading", "Held out, and benchmarks"),
        _sides(database, data),
        Block("text", _benchmarks(data)),
        Block("heading", "Personal and sensitive data"),
        Block(
            "text",
            "The texts are published ones; those about people name them. Apart from the steps and rules above, nothing "
            "was done about personal data: what the sources say about people is still there, except what the removals "
            "took out.",
        ),
        Block("heading", "Which data this is"),
        Block("text", "Digests of the folders, the same as in dvc.lock:"),
        Block("list", [f"{path}: {digest}" for path, digest in digests(data).items()]),
    ]


def check_licenses(database: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    """Raise UserError, naming the sources, when documents have no licence."""
    rows = database.sql(
        f"SELECT source, count(*) AS documents FROM {sql.parquet(files)} "
        f"WHERE license IS NULL OR trim(license) = '' GROUP BY source ORDER BY source"
    ).to_arrow_table()
    missing = [f"{row['source']} ({row['documents']} documents)" for row in rows.to_pylist()]
    if missing:
        raise UserError(f"no licence for {', '.join(missing)}: set sources.NAME.license in params.yaml")


def _kept_documents(data: Path) -> list[str]:
    """The files of the last document stage that has run: the documents for training and the held-out ones."""
    for folders in (["split/train", "split/heldout"], ["decontaminated"], ["dedup"]):
        found = [data / folder for folder in folders if (data / folder / "documents").is_dir()]
        if found:
            return local_files(document_files([str(folder) for folder in found]))
    raise UserError(f"{data}: no stage after deduplication has run yet (dvc repro)")


def _introduction(database: duckdb.DuckDBPyConnection, files: list[str]) -> str:
    row = database.sql(
        f"SELECT count(*), coalesce(sum(strlen(text)), 0)::BIGINT, count(DISTINCT source) FROM {sql.parquet(files)}"
    ).fetchall()[0]
    return f"{row[0]:,} documents, {row[1] / 1e6:,.1f} MB of text from {row[2]} sources, after all processing."


def _sources(database: duckdb.DuckDBPyConnection, data: Path, params: Params) -> list[dict[str, Any]]:
    final = rows_of(
        database.sql(
            f"SELECT source, count(*) AS documents, sum(strlen(text))::BIGINT AS bytes, min(created) AS earliest, "
            f"max(created) AS latest FROM {sql.parquet(_kept_documents(data))} GROUP BY source ORDER BY source"
        )
    )
    raw = {}
    for name in params.sources:
        metrics = data / "raw" / name / "metrics.json"
        raw[name] = read_json(metrics) if metrics.is_file() else {}
    return [
        {
            "source": row["source"],
            "downloaded": raw.get(row["source"], {}).get("documents_in", ""),
            "kept": row["documents"],
            "MB": round(row["bytes"] / 1e6, 2),
            "dates of the texts, or of the crawl": f"{row['earliest']} to {row['latest']}"
            if row["earliest"]
            else "not given",
        }
        for row in final
    ]


def _origins(params: Params) -> list[str]:
    """One line for each source: where it comes from; for a package its page on the index and its hash."""
    lines = []
    for name, source in params.sources.items():
        facts = {key: value for key, value in source.model_dump().items() if value not in (None, {}, [])}
        if facts["kind"] == "package":
            address = f"https://pypi.org/project/{facts.pop('package')}/{facts.pop('version')}/"
            start = f"{address}, file {facts.pop('filename')}, SHA-256 {facts.pop('sha256')}"
            facts.pop("kind")
        else:
            start = str(facts.pop("kind"))
        license_ = facts.pop("license", None) or "as each document says"
        rest = "".join(f", {key} {value}" for key, value in facts.items())
        lines.append(f"{name}: {start}{rest}; licence: {license_}")
    return [redact(line) for line in lines]


def _processing(params: Params) -> list[str]:
    """What each stage does, according to the present params."""
    cleaning, near = params.cleaning, params.deduplication
    lines = [f"clean: the steps {', '.join(cleaning.steps)}; shorter than {cleaning.min_characters} characters dropped"]
    for name in cleaning.steps:
        rules = cleaning.recipes.get(name, [])
        for rule in rules:
            changed = rule.model_dump(exclude_defaults=True, exclude={"rule"})
            shown = ", ".join(f"{key} {value}" for key, value in changed.items()) or "as published"
            lines.append(f"{name}: {rule.rule} ({shown})")
    if cleaning.exempt:
        lines.append(f"not judged by quality rules: {', '.join(cleaning.exempt)}")
    lines.append(
        f"dedup: exact copies, and pairs with a similarity of {near.threshold:g} or more ({near.shingle}-word shingles)"
    )
    lines.append(
        f"decontaminate: documents with {params.decontamination.threshold:.0%} or more of a benchmark item's "
        f"{params.decontamination.ngram}-grams"
    )
    return lines


def _sides(database: duckdb.DuckDBPyConnection, data: Path) -> Block:
    """Documents of each side of the split, by source."""
    if not (data / "split/train").is_dir():
        return Block("text", "Not split yet.")
    train, heldout = (local_files(document_files(str(data / "split" / side))) for side in ("train", "heldout"))
    return Block(
        "table",
        rows_of(
            database.sql(
                f'SELECT source, count(*) FILTER (side = 0) AS train, count(*) FILTER (side = 1) AS "held out" FROM '
                f"(SELECT source, 0 AS side FROM {sql.parquet(train)} UNION ALL "
                f"SELECT source, 1 AS side FROM {sql.parquet(heldout)}) GROUP BY source ORDER BY source"
            )
        ),
    )


def _benchmarks(data: Path) -> str:
    """A sentence that names the benchmarks whose items were searched for."""
    file = data / "benchmarks/manifest.json"
    if not file.is_file():
        return ""
    names = [f"{name} ({entry['items']} items, {entry['license']})" for name, entry in sorted(read_json(file).items())]
    return f"Overlap was searched for with: {', '.join(names)}."


def digests(data: Path) -> dict[str, str]:
    """Digests of the folders that a dataset card speaks of, by path, as dvc.lock and MLflow's runs have them."""
    return {str(data / folder): content_digest(data / folder) for folder in FOLDERS if (data / folder).is_dir()}


def _query(database: duckdb.DuckDBPyConnection, files: list[str], column: str) -> list[dict[str, Any]]:
    return rows_of(
        database.sql(
            f"SELECT {column}, count(*) AS documents, round(sum(strlen(text))::DOUBLE / 1e6, 2) AS MB "
            f"FROM {sql.parquet(files)} GROUP BY ALL ORDER BY documents DESC, MB DESC"
        )
    )


def _stages(database: duckdb.DuckDBPyConnection, data: Path, params: Params) -> list[dict[str, Any]]:
    places = ", ".join(f"'{stage}'" for stage in STAGES)
    return rows_of(
        database.sql(
            f"SELECT stage, count(*) AS 'in', count(*) FILTER (verdict <> 'dropped') AS kept, "
            f"count(*) FILTER (verdict = 'changed') AS changed, count(*) FILTER (verdict = 'dropped') AS dropped "
            f"FROM {_ledgers(data, params)} GROUP BY stage ORDER BY list_position([{places}], stage)"
        )
    )


def _reasons(database: duckdb.DuckDBPyConnection, data: Path, params: Params) -> list[dict[str, Any]]:
    return rows_of(
        database.sql(
            f"SELECT stage, source, reason, count(*) AS documents FROM {_ledgers(data, params)} "
            f"WHERE verdict = 'dropped' GROUP BY ALL ORDER BY documents DESC, stage, source, reason LIMIT 40"
        )
    )


def _removals(file: Path) -> list[Block]:
    rows = takedowns.load(file).rows
    if not rows:
        return [Block("text", "No document has been removed on request.")]
    counts = Counter((str(row["reason"]), str(row.get("twin", "named"))) for row in rows)
    shown = [{"reason": reason, "tombstones": how, "count": count} for (reason, how), count in sorted(counts.items())]
    summed = f"{len(rows)} tombstones in {file.name}; none of the documents that they name is counted above."
    return [Block("text", summed), Block("table", shown)]


def _ledgers(data: Path, params: Params) -> str:
    """SQL for the ledgers of those document stages that have run; of sources that params name, where they name any."""
    folders = ("raw/*", "clean/*", "dedup", "decontaminated", "split", "mix")
    files = [file for folder in folders for file in glob_files(data, f"{folder}/ledger/*.parquet")]
    of_source = {file for file in files if file.relative_to(data).parts[0] in ("raw", "clean")}
    found = [
        file
        for file in files
        if file not in of_source or not params.sources or file.parent.parent.name in params.sources
    ]
    return sql.parquet(local_files(found))
