"""`takedown --check` finds a planted text in every artefact that the graph writes, as it was or lightly edited."""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from llm_core.corpus import takedowns
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.ledger import LedgerWriter
from llm_core.formats.token_shards import TokenWriter, token_schema
from llm_core.lineage.index import open_index
from llm_core.lineage.proof import Proof, check
from llm_core.params.tokenizer import Tokenizer
from llm_core.retrieval.passages import SCHEMA as PASSAGES
from llm_core.tokenization.layout import Vocabulary, save
from llm_core.tokenization.pattern import pattern
from llm_core.tracking.traces import Step, keep
from tests.llm_core.lineage.test_journey import main_exit

ROOT = Path(__file__).parents[3]
ID = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
TEXT = " ".join(f"term{n * n % 83}" for n in range(120))
EDITED = TEXT.replace("term4 ", "other ", 1).replace("term64 ", "more ", 1)
OTHER = " ".join(f"word{n * n % 79}" for n in range(120))
Plant = Callable[[Path, str], None]


def documents(folder: Path, text: str, name: str = "another") -> None:
    with DocumentWriter(folder) as writer:
        writer.write_rows([{"id": name, "source": "web", "text": text}])


def inner_documents(folder: Path, text: str) -> None:
    documents(folder / "documents", text)


def tokens(folder: Path, text: str) -> None:
    tokenizer = folder.parents[1] / "tokenizer"
    save(tokenizer, [], pattern(Tokenizer()))
    known = Vocabulary(tokenizer)
    ids = [known.bos, *(known.tokens[bytes([byte])] for byte in text.encode()), known.eos]
    schema = token_schema(known.size, known.digest)
    with TokenWriter(folder, schema) as writer:
        values = [["another"], ["web"], [len(text)], [ids]]
        columns = [pa.array(value, kind.type) for value, kind in zip(values, schema, strict=True)]
        writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))


def lines(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"id": n, "prompt": said}) + "\n" for n, said in enumerate((OTHER, text))))


def rows(folder: Path, text: str) -> None:
    lines(folder / "train.jsonl", text)


def items(folder: Path, text: str) -> None:
    lines(folder / "task.jsonl", text)


def samples(folder: Path, text: str) -> None:
    lines(folder / "samples.json", text)


def page(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "page.html").write_text(f"<h1>a &amp; b</h1><blockquote>{text}</blockquote>")


def named(file: Path, text: str) -> None:
    """The artefact names documents by their ids and holds none of their words."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"benchmark": "x", "documents": [ID]}) + "\n")


def passages(folder: Path, text: str) -> None:
    (folder / "passages").mkdir(parents=True)
    values = {"id": "another#0", "document_id": "another", "text": " ".join(text.split()[:100])}
    fill = {pa.string(): "", pa.large_string(): "", pa.int64(): 0, pa.int32(): 0}
    row = {kind.name: values.get(kind.name, fill[kind.type]) for kind in PASSAGES}
    table = pa.Table.from_pylist([row], schema=PASSAGES)
    pq.write_table(table, folder / "passages/00000.parquet")


def traces(file: Path, text: str) -> None:
    """A store in whose traces a tool returned the text, beside names of runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as store:
        store.execute("CREATE TABLE runs (name TEXT, number INTEGER)")
        store.execute("CREATE TABLE spans (content TEXT)")
        store.executemany("INSERT INTO runs VALUES (?, ?)", [("clean", 1), (None, 2)])
        store.execute("INSERT INTO spans VALUES (?)", [json.dumps({"output": json.dumps({"passage": text})})])
        store.commit()


PLANTS: dict[str, Plant] = {
    "data/raw/*/documents": documents,
    "data/clean/*/documents": documents,
    "data/clean/*/drops.jsonl": lines,
    "data/dedup/documents": documents,
    "data/decontaminated/documents": documents,
    "data/decontaminated/touched_items.jsonl": named,
    "data/split/train": inner_documents,
    "data/split/heldout": inner_documents,
    "data/tokens/train": tokens,
    "data/tokens/heldout": tokens,
    "data/benchmarks": items,
    "data/models/*": samples,
    "data/models/base": samples,
    "data/models/reader": samples,
    "data/models/bert": samples,
    "data/models/encoder": samples,
    "data/finetuning/*": rows,
    "data/finetuning/evidence": rows,
    "data/finetuning/contrastive": rows,
    "data/evaluation/*/results.jsonl": lines,
    "data/evaluation/*/samples.json": lines,
    "data/index": passages,
    "data/index-words": passages,
    "data/index-tuned": passages,
    "data/retrieval/*/answers.jsonl": lines,
    "data/reader/answers.jsonl": lines,
    "data/card": page,
    "data/cards/*": page,
    "data/cards/base": page,
    "data/datasets/*": rows,
    "data/report": page,
}
"""an output of the graph -> how a text gets into it"""
NO_TEXT = {
    "data/inputs": "digests of files",
    "data/raw/*/ledger": "verdicts",
    "data/clean/*/ledger": "verdicts",
    "data/dedup/ledger": "verdicts",
    "data/decontaminated/ledger": "verdicts",
    "data/split/ledger": "verdicts",
    "data/tokenizer": "a vocabulary and settings",
    "data/evaluation/*/about.json": "digests and settings",
    "data/registry/*.json": "a version and its scores",
    "data/champion/*.json": "a version and its scores",
    "data/word2vec/cbow.bin": "single words",
    "data/word2vec/skipgram.bin": "single words",
    "data/word2vec/neighbours.json": "single words",
    "data/word2vec/maps.json": "single words",
    "data/scaling/runs/*.json": "figures",
    "data/scaling/laws/runs.csv": "figures",
}
"""an output of the graph that holds no text of documents -> what it holds"""
OUTSIDE: dict[str, tuple[str, Plant]] = {
    "data/mix/train": ("mix/train", inner_documents),
    "data/ablation/arms": ("ablation/arms", inner_documents),
    "cache/files/host/list.jsonl": ("downloads", lines),
    ".dvc/cache/files/md5/ab": ("DVC's cache", documents),
    ".dvc/tmp/exps/x/data/dedup/documents": (".dvc/tmp", documents),
    ".scratch/fetch/web-1/00000/documents": (".scratch/fetch", documents),
    "mlruns/1/run/artifacts": ("MLflow's artifacts", samples),
    ".scratch/agent/store.db": (".scratch/agent", traces),
}
"""places that are no output of a stage, by the name under which the check shows them"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which one text was taken down by id, hash and sketch, and only other documents are left."""
    monkeypatch.chdir(tmp_path)
    for stage in ("raw/other", "clean/other", "dedup"):
        documents(tmp_path / f"data/{stage}/documents", OTHER, "stays")
    (tmp_path / "params.yaml").write_text(f"seed: 1\nnetwork: {{cache: {tmp_path / 'cache'}}}\n")
    takedowns.write_rows("takedowns.jsonl", [{"id": ID, "reason": "asked", **takedowns.describe(TEXT)}])
    assert shown(searched(tmp_path)) == []
    return tmp_path


def searched(project: Path) -> Proof:
    return check(project / "data", cache=project / "cache")


def shown(proof: Proof) -> list[str]:
    """The places in which something of the text was found."""
    return [place for place, count in proof.left.items() if count] + [place for place, *_ in proof.remains]


def outs() -> set[str]:
    """Outputs (not figures and plots) of every stage of the graph and of the experiments, keys written as `*`."""
    found = set()
    for file in [ROOT / "dvc.yaml", *ROOT.glob("experiments/*/dvc.yaml")]:
        for stage in yaml.safe_load(file.read_text())["stages"].values():
            for out in stage.get("do", stage).get("outs", []):
                path = next(iter(out)) if isinstance(out, dict) else out
                found.add(re.sub(r"\$\{.*?\}", "*", path))
    return found


def test_every_output_of_the_graph_is_searched_or_holds_no_text():
    unknown = outs() - PLANTS.keys() - NO_TEXT.keys()
    assert not unknown, "say in PLANTS how a text gets into the new output, or in NO_TEXT why none does"
    assert PLANTS.keys() | NO_TEXT.keys() == outs()


@pytest.mark.parametrize("text", [TEXT, EDITED], ids=["as it was", "edited"])
@pytest.mark.parametrize("out", PLANTS)
def test_a_text_in_an_output_of_the_graph_is_found(project, out, text):
    place = project / out.replace("*", "x")
    PLANTS[out](place, text)
    parts = Path(out.replace("*", "x")).parts
    found = shown(searched(project))
    assert {place.removeprefix("data/").split("/")[0] for place in found} == {parts[1]}
    cleaned = parts[1] not in ("raw", "clean", "models")
    assert main_exit(["takedown", "--check"]) == (1 if cleaned else 0)


@pytest.mark.parametrize("text", [TEXT, EDITED], ids=["as it was", "edited"])
@pytest.mark.parametrize("place", OUTSIDE)
def test_a_text_beside_the_outputs_is_found(project, place, text):
    name, plant = OUTSIDE[place]
    plant(project / place, text)
    (found,) = shown(searched(project))
    assert found.startswith(name)


def test_the_trackers_store_is_searched(project, monkeypatch):
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")  # the file is no whole store, of which versions could be asked
    traces(project / "mlflow.db", TEXT)
    assert shown(searched(project)) == ["MLflow's store"]


@pytest.mark.parametrize("said", [{"prompt": f"Say:\n{TEXT}"}, [{"metadata": {"document_id": ID}}]], ids=["text", "id"])
def test_a_real_trace_in_the_trackers_store_is_found(project, monkeypatch, said):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it, for the rest of the process
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    root = Step("CHAIN", "ask", {"question": "what?"})
    root.end({"answer": "no"})
    assert keep(lambda: (root, []))
    assert shown(searched(project)) == []
    assert keep(lambda: (root, [Step("LLM", "model", said, {}, root.started, root.ended)]))
    assert shown(searched(project)) == ["MLflow's store"]


def test_the_index_of_trace_is_named_until_it_is_built_anew(project):
    documents(project / "data/raw/x/documents", TEXT)
    with LedgerWriter(project / "data/raw/x/ledger", "fetch") as ledger:
        ledger.record([{"id": "another", "source": "x", "verdict": "kept"}])
    open_index(project / "data")
    assert shown(searched(project)) == ["data/raw/x", ".scratch/lineage"]


def test_a_cache_that_dvc_keeps_elsewhere_and_a_linked_folder_are_searched(project, tmp_path_factory):
    far = tmp_path_factory.mktemp("far")
    (project / ".dvc").mkdir()
    (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {far}/cache\n")
    documents(far / "cache/files/md5/ab", TEXT)
    documents(far / "dedup/documents", EDITED)
    (project / "data/mix").symlink_to(far / "dedup")
    assert shown(searched(project)) == ["mix", f"DVC's cache ({far}/cache)"]


def test_the_caches_are_those_of_the_folder_that_holds_the_data(project, tmp_path_factory, monkeypatch):
    documents(project / ".dvc/cache/files/md5/ab", TEXT)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    proof = check(project / "data", project / "takedowns.jsonl")
    assert [name for name in shown(proof) if name.startswith("DVC's cache")]


@pytest.mark.parametrize("escape", [json.dumps, lambda text: text.replace("term", "&#116;erm")])
def test_words_behind_escapes_are_found(project, escape):
    text = TEXT.replace("term", "été")
    takedowns.write_rows("takedowns.jsonl", [{"id": ID, "reason": "asked", **takedowns.describe(text)}])
    (project / "data/report").mkdir()
    (project / "data/report/page.html").write_text(escape(text if escape is json.dumps else TEXT))
    if escape is not json.dumps:
        takedowns.write_rows("takedowns.jsonl", [{"id": ID, "reason": "asked", **takedowns.describe(TEXT)}])
    assert shown(searched(project)) == ["report"]


def test_a_file_that_cannot_be_read_is_no_proof(project, capsys):
    (project / "data/dedup/documents/00009.parquet").write_bytes(b"PAR1 and nothing that is Parquet")
    assert main_exit(["takedown", "--check"]) == 1
    assert "1 files cannot be read, so nothing is proven of them" in capsys.readouterr().err


def test_a_broken_file_that_no_takedown_cleans_is_named(project):
    (project / "cache").mkdir()
    (project / "cache/a.zip").write_bytes(b"PK\x03\x04 and no archive")
    (row,) = searched(project).remains
    assert row[1].startswith("1 files that cannot be read, such as ")


def test_token_shards_of_a_tokenizer_that_is_gone_are_named(project):
    tokens(project / "data/tokens/train", TEXT)
    (project / "data/tokenizer/tokenizer.json").unlink()
    (row,) = searched(project).remains
    assert row[0].endswith("data/tokens/train/00000.arrow")
    assert "only their ids were compared" in row[1]
