"""`takedown --check` finds a planted text in any artefact, and proves nothing where there is nothing to search."""

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import zstandard

from llm_core.corpus import takedowns
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.token_shards import TokenWriter, token_schema
from llm_core.lineage.index import open_index
from llm_core.lineage.proof import check
from tests.llm_core.lineage.conftest import IDS, rows
from tests.llm_core.lineage.test_journey import main_exit

ID = IDS[7]
TEXT = " ".join(f"term{n * n % 83}" for n in range(120))
ROW = {**rows()[7], "text": TEXT}
EDITED = TEXT.replace("term4 ", "other ", 1)


@pytest.fixture
def clean(project: Path) -> Path:
    """The finished pipeline after a takedown of one document and a rebuild: its text is in raw and clean alone."""
    for stage in ("raw", "clean"):
        with DocumentWriter(project / f"data/{stage}/other/documents") as writer:
            writer.write_rows([ROW])
    for file in [*project.glob("data/dedup/documents/*.parquet"), *project.glob("data/*/web/documents/*.parquet")]:
        pq.write_table(pq.read_table(file).filter(pc.field("id") != ID), file)
    for folder in ("tokens", "models"):
        shutil.rmtree(project / "data" / folder)
    (project / "params.yaml").write_text(f"seed: 1\nnetwork: {{cache: {project / 'cache'}}}\n")
    takedowns.write_rows("takedowns.jsonl", [{"id": ID, "reason": "asked", **takedowns.describe(TEXT)}])
    return project


def table(file: Path, row: dict) -> None:
    with DocumentWriter(file.parent) as writer:
        writer.write_rows([row])


def shard(file: Path, row: dict) -> None:
    schema = token_schema(256)
    with TokenWriter(file.parent, schema) as writer:
        values = [[row["id"]], ["web"], [3], [[1, 2]]]
        writer.write(
            pa.RecordBatch.from_arrays(
                [pa.array(v, f.type) for v, f in zip(values, schema, strict=True)], schema=schema
            )
        )


def lines(file: Path, row: dict) -> None:
    file.write_text(json.dumps({"id": "row-1", "documents": [row["id"]]}) + "\n")


def page(file: Path, row: dict) -> None:
    file.write_text(f"# Samples\n\n> {' '.join(row['text'].split()[30:60])}\n")


def passages(file: Path, row: dict) -> None:
    pq.write_table(pa.table({"id": [f"{row['id']}#0"], "document_id": [row["id"]], "text": ["a passage"]}), file)


PLACES = {
    "data/dedup/documents/00001.parquet": table,
    "data/decontaminated/documents/00000.parquet": table,
    "data/split/train/documents/00000.parquet": table,
    "data/split/heldout/documents/00000.parquet": table,
    "data/mix/train/documents/00000.parquet": table,
    "data/tokens/train/00000.arrow": shard,
    "data/finetuning/instruction/documents.json": lines,
    "data/finetuning/instruction/train.jsonl": lines,
    "data/finetuning/evidence/train.jsonl": lines,
    "data/index/passages/00000.parquet": passages,
    "data/evaluation/base/samples.json": page,
    "data/report/report.md": page,
    "data/report/report.html": page,
    "data/a_stage_of_tomorrow/rows.jsonl": lines,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_leftover_in_what_is_rebuilt_is_found(clean, place):
    before = check(clean / "data")
    assert not any(before.left.values())
    file = clean / place
    file.parent.mkdir(parents=True, exist_ok=True)
    row = {**ROW, "id": "another-id"} if PLACES[place] is page else ROW
    PLACES[place](file, row)
    left = {name: count for name, count in check(clean / "data").left.items() if count}
    assert list(left.values()) == [1]
    assert next(iter(left)).split("/")[0] == place.split("/")[1]
    assert main_exit(["takedown", "--check"]) == 1


@pytest.mark.parametrize("text", [TEXT, EDITED])
def test_a_copy_under_another_id_is_found(clean, text):
    table(clean / "data/split/train/documents/00000.parquet", {**ROW, "id": "new", "text": text})
    assert check(clean / "data").left["split/train"] == 1


def zipped(file: Path, row: dict) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", row["text"])


def gzipped(file: Path, row: dict) -> None:
    file.write_bytes(gzip.compress(f"WARC/1.0\r\n\r\n<p>{row['text']}</p>".encode()))


def zstd(file: Path, row: dict) -> None:
    file.write_bytes(zstandard.compress(json.dumps({"text": row["text"]}).encode()))


REMAINS = {
    "data/raw/web/documents/00001.parquet": ("data/raw/web", table),
    "data/clean/web/drops.jsonl": ("data/clean/web", page),
    "data/models/base/samples.json": ("data/models", page),
    ".scratch/fetch/web-1/00000/documents/00000.parquet": (".scratch/fetch", table),
    ".dvc/cache/files/md5/ab/cdef": ("DVC's cache", gzipped),
    "mlruns/1/run/artifacts/samples.json": ("MLflow's artifacts", page),
    "cache/files/host/a.whl": ("downloads", zipped),
    "cache/files/host/a.warc.gz": ("downloads", gzipped),
    "cache/files/host/a.jsonl.zst": ("downloads", zstd),
}


@pytest.mark.parametrize("place", REMAINS)
def test_a_leftover_that_no_takedown_cleans_is_named_with_what_to_do(clean, place):
    name, plant = REMAINS[place]

    def named() -> list[str]:
        return [row[0] for row in check(clean / "data", cache=clean / "cache").remains if row[0].startswith(name)]

    assert named() == []
    (clean / place).parent.mkdir(parents=True, exist_ok=True)
    plant(clean / place, ROW)
    assert len(named()) == 1
    assert main_exit(["takedown", "--check"]) == 0


def test_the_index_of_trace_and_a_remote_are_named(clean, capsys):
    open_index(clean / "data")
    (clean / ".dvc").mkdir()
    (clean / ".dvc/config").write_text("[core]\n    remote = far\n['remote \"far\"']\n    url = s3://bucket/place\n")
    assert main_exit(["takedown", "--check", "--out-file", "proof.md"]) == 0
    printed = capsys.readouterr().out
    for text in (printed, (clean / "proof.md").read_text()):
        for name in (".scratch/lineage", "DVC remote far", "s3://bucket/place", "data/raw/other", "data/clean/other"):
            assert name in text


def test_words_that_a_document_which_stays_holds_too_prove_nothing(clean):
    shared = " ".join(TEXT.split()[30:60])
    table(
        clean / "data/dedup/documents/00001.parquet", {**ROW, "id": "stays", "text": f"{shared} and words of its own"}
    )
    (clean / "data/report").mkdir()
    page(clean / "data/report/report.md", ROW)
    assert not any(check(clean / "data").left.values())


def test_nothing_to_look_at_is_no_proof(clean, capsys):
    with pytest.raises(UserError, match="no such file of tombstones"):
        check(clean / "data", clean / "absent.jsonl")
    (clean / "empty.jsonl").touch()
    with pytest.raises(UserError, match="holds no tombstones"):
        check(clean / "data", clean / "empty.jsonl")
    for folder in ("absent", "cache"):
        with pytest.raises(UserError, match="holds no documents of any stage"):
            check(clean / folder)
    takedowns.write_rows("takedowns.jsonl", [{"id": 3, "reason": "asked"}])
    assert main_exit(["takedown", "--check"]) == 1
    assert "1 tombstones name no document that was seen here: id 3" in capsys.readouterr().err
