"""The places that `trace` names, in a project whose every stage writes several shards: each holds the document."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from llm_core.cli import main
from llm_core.lineage.index import open_index
from llm_core.lineage.journey import journey

PAGES = 40
PARAMS = """
seed: 1
sources: {pages: {kind: files, paths: [pages]}, rows: {kind: files, paths: [rows]}}
cleaning: {steps: [repair], min_characters: 1}
split: {heldout_share: 0.1}
mix: {weights: {pages: 3, rows: 1}}
tokenizer: {vocab_size: 300}
shards: {megabytes: 0.001, tokens: 400}
"""


def run(*arguments: str) -> None:
    try:
        main(list(arguments))
    except SystemExit as end:
        assert not end.code, arguments


def text(number: int, kind: str) -> str:
    words = " ".join(f"{kind}{number * place % 89}" for place in range(1, 30))
    return f"This is number {number} of the {kind}. {words}."


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pages (a file each) and rows (three files), through every stage up to the tokens of a mix, entered."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    for folder in ("pages", "rows"):
        (tmp_path / folder).mkdir()
    for number in range(PAGES):
        (tmp_path / f"pages/{number:02d}.txt").write_text(text(number, "page"))
        with open(tmp_path / f"rows/{number % 3}.jsonl", "a") as stream:
            stream.write(json.dumps({"id": f"r{number}", "text": text(number, "row")}) + "\n")
    for source in ("pages", "rows"):
        run("fetch", source, "--out", f"data/raw/{source}")
        run("clean", "--in", f"data/raw/{source}", "--out", f"data/clean/{source}")
    run("dedup", "--in", "data/clean/pages", "--in", "data/clean/rows", "--out", "data/dedup")
    run("split", "--in", "data/dedup", "--out", "data/split")
    run("mix", "--in", "data/split", "--out", "data/mix")
    run("train-tokenizer", "--in", "data/mix/train", "--out", "data/tokenizer")
    run("tokenize", "--in", "data/mix", "--tokenizer", "data/tokenizer", "--out", "data/tokens")
    return tmp_path


def id_at(file: str, row: int) -> str:
    """Id of the document in a row of a file, whose kind its name says."""
    if file.endswith(".parquet"):
        return str(pq.read_table(file, columns=["id"])["id"][row].as_py())
    with pyarrow.memory_map(file) as source:
        return str(pyarrow.ipc.open_stream(source).read_all()["id"][row].as_py())


def test_each_place_that_trace_names_holds_the_document(project):
    index = open_index(Path("data"))
    documents = index.rows("documents", "true", [], "id")
    assert len(documents) == 2 * PAGES
    named, times = Counter(), Counter()
    for document in documents:
        told = journey(index, document["id"], Path("data"))
        source, own = document["source"], json.loads(document["metadata"])
        assert [row["stage"] for row in told.decisions][:4] == ["fetch", "clean", "dedup", "split"]
        for row in told.decisions:
            named[row["shard"]] += 1
            if row["stage"] != "fetch":
                assert id_at(row["shard"], row["offset"]) == document["id"]
            elif source == "pages":
                assert Path(row["shard"]).read_text() == text(int(Path(row["shard"]).stem), "page")
                assert row["shard"] == own["file"]
            else:
                line = Path(row["shard"]).read_text().splitlines()[row["offset"] - 1]
                assert json.loads(line)["id"] == own["source_id"]
        for row in told.tokens:
            assert id_at(row["shard"], row["row"]) == document["id"]
            named[row["shard"]] += 1
            times[source] += row["part"] == "train"
    for folder in ("raw/rows", "dedup", "split/train", "tokens/train"):
        files = [name for name in named if name.startswith(f"data/{folder}/")]
        assert len(files) > 1, folder
    assert times["pages"] > 2 * times["rows"] > 0  # a document that the mix repeats is named once for each time
