"""Properties of every document stage, present and future.

Stages are found on the command line, each verb with `--out`, and in the code, each room that writes a ledger. A new
one must be entered below, or this test fails; then it must keep the books (in = kept + dropped), invent and repeat no
id, and never succeed about nothing. Toy stages that break one promise each show that the test sees it.
"""

import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
import typer

from llm_core import cli
from llm_core.cli import VERBS, main
from llm_core.cli.options import In, Out
from llm_core.formats.documents import DocumentWriter, read_numbered_batches
from llm_core.formats.ledger import LedgerWriter, Row
from llm_core.lineage.index import STAGES
from llm_core.runtime.storage import output_folder, write_json
from tests.llm_core.corpus.sources.warc_files import http, packed, record

TEXT = "river town stone winter harbour bridge market forest letter garden window silver morning thunder"
WORDS = TEXT.split()
ARGUMENTS = {  # document stage -> what it needs beside --in and --out, options that make it drop everything
    "clean": ([], ["--set", "cleaning.min_characters=100000"]),
    "filter": (["--recipe", "gopher_quality"], ["--set", "cleaning.min_characters=100000"]),
    "dedup": ([], ["--takedowns", "all.jsonl"]),
    "dedup-text": ([], None),  # the first holder of a piece keeps it, so that something is always left
    "decontaminate": (["--benchmarks", "items.jsonl"], ["--benchmarks", "all.txt"]),
    "split": ([], None),  # a side is chosen for each document, and none is dropped
    "mix": ([], ["--set", "mix.total=1"]),
}
OTHERS = {  # verbs that read documents and write something else
    "tokenize": ["--tokenizer", "tokenizer"],
    "index": ["--set", "retrieval.encoder=none"],
    "train-tokenizer": [],
    "word2vec": [],
}
STARTS = {  # document stages that read no documents
    "fetch": ["corpus"],
    "extract": ["--in", "crawl"],
}
NOT_DOCUMENTS = {  # verbs with `--out` that neither read nor write documents: they write items, rows, models, pages
    "ablate", "agent", "card", "compare", "encoder-data", "evaluate", "evaluate-retrieval", "evidence-data",
    "fetch-benchmarks", "fetch-dataset", "fetch-model", "finetune", "finetune-data", "initialize-embeddings", "inputs",
    "merge", "pretrain", "report", "scaling", "score", "train-perplexity", "train-quality",
}  # fmt: skip
LINES_FROM_1 = {"clean", "filter"}  # of JSON lines; others number the rows
UNIQUE = {*ARGUMENTS, "tokenize", "index"}
ROOMS = {  # rooms of `llm_core` that write ledgers -> the verbs whose ledgers these are
    "corpus/cleaning": {"clean", "filter", "extract"},
    "corpus/decontamination": {"decontaminate"},
    "corpus/deduplication": {"dedup"},
    "corpus/deduplication/text": {"dedup-text"},
    "corpus/mix": {"mix"},
    "corpus/sources": {"fetch"},
    "corpus/split": {"split"},
}


def run(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def text(number: int) -> str:
    parts = (WORDS[(number * 7 + place * place + number * place) % len(WORDS)] for place in range(60))
    words = " ".join(f"{word}{number % 5}" for word in parts)
    return f"Page {number} is the one about it, and that is to be read with the others. The {words}."


def write(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "seed: 1\nsources: {corpus: {kind: files, paths: [in]}}\ncleaning: {steps: [repair]}\n"
        "deduplication: {max_dropped_share: 1}\ntokenizer: {vocab_size: 300}\n"
    )
    rows = [{"id": f"d{number}", "source": f"s{number % 2}", "text": text(number)} for number in range(30)]
    rows[9]["text"] = rows[8]["text"]
    write(tmp_path / "in/a.jsonl", rows[:13])
    write(tmp_path / "in/b.jsonl", rows[13:])
    write(tmp_path / "items.jsonl", [{"id": "1", "text": rows[3]["text"]}])
    write(tmp_path / "all.jsonl", [{"id": row["id"], "reason": "asked"} for row in rows])
    (tmp_path / "all.txt").write_text("\n".join(row["text"] for row in rows))
    return tmp_path


def given(verb: str, rows: Path) -> str:
    """The folder of documents as the verb wants it: `mix` reads a split."""
    if verb != "mix":
        return str(rows)
    shutil.copytree(rows, "as-split/train")
    return "as-split"


def table(folder: Path) -> list[dict]:
    return [row for file in sorted(folder.rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def verbs_that_write() -> set[str]:
    """Verbs with `--out`."""
    found = set()
    for verb, (module, *_) in VERBS.items():
        command = typer.main.get_command(importlib.import_module(f"llm_core.cli.{module}").app)
        if "--out" in {option for parameter in command.params for option in parameter.opts}:
            found.add(verb)
    return found


def rooms_that_write_ledgers(root: Path) -> set[str]:
    """Folders below `root` with a module that makes a `LedgerWriter`."""
    makes = re.compile(r"\bLedgerWriter\(")
    inside = (path for path in root.rglob("*.py") if path.name != "ledger.py")
    return {str(path.parent.relative_to(root)) for path in inside if makes.search(path.read_text())}


def broken_promises(verb: str, arguments: list[str], ids: set[str] | None = None) -> list[str]:
    """What the stage `verb` does that a document stage must not do, by its output in `out`.

    `ids` are those of the documents that it reads; None for a stage that gives them their ids.
    """
    if code := run(verb, *arguments, "--out", "out"):
        return [f"ends with {code}"]
    metrics = json.loads(Path("out/metrics.json").read_text())
    ledger = table(Path("out/ledger"))
    kept = [row for row in ledger if row["verdict"] != "dropped"]
    parts = ("documents", "train/documents", "heldout/documents")
    written = [row for part in parts for row in table(Path("out") / part)]
    sources = {row["id"]: row["source"] for row in ledger}
    drops = [row for row in ledger if row["verdict"] == "dropped"]
    promises = {
        "the ledger has a row for each document": metrics["documents_in"] == len(ledger),
        "in = kept + dropped": metrics["documents_in"] == metrics["documents_kept"] + metrics["documents_dropped"],
        "the metrics count what the ledger says": metrics["documents_kept"] == len(kept),
        "something is kept": bool(kept),
        "each drop has a reason": all(row["reason"] for row in drops),
        "each id is there once": len(sources) == len(ledger),
        "what is kept is written, nothing else": sorted(row["id"] for row in written) == sorted(r["id"] for r in kept),
        "a document keeps its source": all(row["source"] == sources.get(row["id"]) for row in written),
        "each row says where it was read": all(row["shard"] and row["offset"] is not None for row in ledger),
        "each row names the stage": {row["stage"] for row in ledger} == {verb},
    }
    if ids is not None:
        promises["the ids are those that came"] = set(sources) == ids
        first = 1 if verb in LINES_FROM_1 else 0
        read = {file: Path(file).read_text().splitlines() for file in {row["shard"] for row in ledger if row["shard"]}}
        promises["the place where it was read is the document's"] = all(
            row["shard"] and json.loads(read[row["shard"]][row["offset"] - first])["id"] == row["id"] for row in ledger
        )
    return [promise for promise, held in promises.items() if not held]


def test_every_verb_that_writes_is_known_here():
    assert verbs_that_write() == {*ARGUMENTS, *STARTS, *OTHERS, *NOT_DOCUMENTS}


def test_every_room_that_writes_a_ledger_belongs_to_a_stage_that_is_tried_here():
    assert rooms_that_write_ledgers(Path(cli.__file__).parents[1]) == set(ROOMS)
    assert {verb for verbs in ROOMS.values() for verb in verbs} == {*ARGUMENTS, *STARTS} == set(STAGES)


@pytest.mark.parametrize("verb", ARGUMENTS)
def test_in_is_kept_and_dropped_and_ids_are_those_that_came(folder, verb):
    arguments = ["--in", given(verb, folder / "in"), *ARGUMENTS[verb][0]]
    assert broken_promises(verb, arguments, {f"d{number}" for number in range(30)}) == []
    assert all(row["source"] == f"s{int(row['id'][1:]) % 2}" for row in table(Path("out/ledger")))


@pytest.mark.parametrize("verb", STARTS)
def test_the_stages_that_make_documents_keep_the_books_too(folder, verb):
    (folder / "in/c.jsonl").write_text('{"text": "sound"}\n{broken\n')
    page = "".join(f"<p>{text(number)}</p>" for number in range(4))
    records = [
        record(0, http(f"<html><body>{page}</body></html>".encode())),
        record(1, http(b"", b"HTTP/1.1 404 no\r\n")),
    ]
    (folder / "crawl").mkdir()
    (folder / "crawl/a.warc.gz").write_bytes(packed(records))
    assert broken_promises(verb, STARTS[verb]) == []
    assert json.loads(Path("out/metrics.json").read_text())["documents_dropped"] > 0


@pytest.mark.parametrize("verb", STARTS)
def test_the_stages_that_make_documents_fail_where_there_is_none(folder, verb, capsys):
    for name in "ab":
        (folder / f"in/{name}.jsonl").write_text("{broken\n")
    (folder / "crawl").mkdir()
    (folder / "crawl/a.warc.gz").write_bytes(packed([record(1, http(b"", b"HTTP/1.1 404 no\r\n"))]))
    assert run(verb, *STARTS[verb], "--out", "out") == 1
    assert not Path("out").exists()
    assert capsys.readouterr().err.splitlines()[-1].startswith("llm-core: error: ")


Judge = Callable[[list[Row]], list[Row]]


def toy(judge: Judge, keep: Callable[[str], bool] = lambda name: True) -> ModuleType:
    """A module with a document stage `toy`: `judge` changes its verdicts, `keep` chooses the ids that it writes."""
    module = ModuleType("llm_core.cli.toy")
    module.app = typer.Typer(add_completion=False)  # type: ignore[attr-defined]

    @module.app.command()
    def stage(inputs: In, out: Out) -> None:
        with output_folder(out, inputs) as place:
            count = 0
            with DocumentWriter(place / "documents") as writer, LedgerWriter(place / "ledger", "toy") as ledger:
                for file, offset, batch in read_numbered_batches(inputs):
                    rows = batch.to_pylist()
                    count += len(rows)
                    verdicts: list[Row] = [
                        {
                            "id": row["id"],
                            "source": row["source"],
                            "verdict": "kept",
                            "shard": file,
                            "offset": offset + n,
                        }
                        for n, row in enumerate(rows)
                    ]
                    ledger.record(judge(verdicts))
                    writer.write_rows([row for row in rows if keep(row["id"])])
            write_json(place / "metrics.json", ledger.finish(count) if judge is SOUND else ledger.summary())

    return module


def SOUND(rows: list[Row]) -> list[Row]:  # noqa: N802 - beside the broken ones
    return rows


BROKEN: dict[str, tuple[Judge, Callable[[str], bool]]] = {
    "the ids are those that came": (lambda rows: rows[1:], lambda name: name != "d0"),
    "what is kept is written, nothing else": (SOUND, lambda name: name != "d0"),
    "each drop has a reason": (lambda rows: [{**rows[0], "verdict": "dropped"}, *rows[1:]], lambda name: name != "d0"),
    "each id is there once": (lambda rows: [*rows, rows[0]], lambda name: True),
    "a document keeps its source": (lambda rows: [{**row, "source": "another"} for row in rows], lambda name: True),
    "something is kept": (
        lambda rows: [{**row, "verdict": "dropped", "reason": "dull"} for row in rows],
        lambda name: False,
    ),
    "each row says where it was read": (lambda rows: [{**row, "shard": None} for row in rows], lambda name: True),
}


def enter(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    monkeypatch.setitem(VERBS, "toy", ("toy", "A stage that somebody adds."))
    monkeypatch.setitem(sys.modules, "llm_core.cli.toy", module)


def test_a_stage_that_somebody_adds_is_found(folder, monkeypatch):
    enter(monkeypatch, toy(SOUND))
    assert verbs_that_write() - {*ARGUMENTS, *STARTS, *OTHERS, *NOT_DOCUMENTS} == {"toy"}
    assert broken_promises("toy", ["--in", "in"], {f"d{number}" for number in range(30)}) == []
    (folder / "rooms/corpus/new").mkdir(parents=True)
    (folder / "rooms/corpus/new/stage.py").write_text("with ledger.LedgerWriter(folder, 'new') as judged: ...\n")
    assert rooms_that_write_ledgers(folder / "rooms") == {"corpus/new"}


@pytest.mark.parametrize("promise", BROKEN)
def test_a_stage_that_breaks_a_promise_is_caught(folder, monkeypatch, promise):
    enter(monkeypatch, toy(*BROKEN[promise]))
    assert promise in broken_promises("toy", ["--in", "in"], {f"d{number}" for number in range(30)})


@pytest.mark.parametrize("verb", [*ARGUMENTS, *OTHERS])
@pytest.mark.parametrize("rows", [[], None])
def test_nothing_to_read_is_an_error(folder, verb, rows, capsys):
    empty = folder / "empty"
    empty.mkdir()
    if rows is not None:
        write(empty / "a.jsonl", rows)
    place = given(verb, empty) if rows is not None else str(empty)
    assert run("train-tokenizer", "--in", "in", "--out", "tokenizer") == 0
    assert run(verb, "--in", place, "--out", "out", *{**OTHERS, **{v: a for v, (a, _) in ARGUMENTS.items()}}[verb]) == 1
    assert not Path("out").exists()
    assert capsys.readouterr().err.splitlines()[-1].startswith("llm-core: error: ")


@pytest.mark.parametrize("verb", [verb for verb, (_, some) in ARGUMENTS.items() if some and verb != "dedup"])
def test_a_stage_that_keeps_nothing_fails_and_says_why(folder, verb, capsys):
    everything = ARGUMENTS[verb][1]
    needed = [] if verb == "decontaminate" else ARGUMENTS[verb][0]
    assert run(verb, "--in", given(verb, folder / "in"), "--out", "out", *needed, *everything) == 1
    assert not Path("out").exists()
    assert f"{verb}: none of 30 documents is left (" in capsys.readouterr().err.splitlines()[-1]


def test_dedup_obeys_tombstones_that_name_every_document_and_says_so(folder, capsys):
    assert run("dedup", "--in", given("dedup", folder / "in"), "--out", "out", *ARGUMENTS["dedup"][1]) == 0
    assert json.loads(Path("out/metrics.json").read_text())["documents_kept"] == 0
    assert "dedup: every document was taken down" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(UNIQUE))
def test_an_id_that_names_two_documents_is_refused_with_both_places(folder, verb, capsys):
    rows = [{"id": f"d{number}", "source": "s", "text": text(number)} for number in range(20)]
    (folder / "in/b.jsonl").unlink()
    write(folder / "in/a.jsonl", [*rows, {"id": "d4", "source": "t", "text": text(99)}])
    assert run("train-tokenizer", "--in", "in", "--out", "tokenizer") == 0
    needed = OTHERS.get(verb) or ARGUMENTS[verb][0]
    assert run(verb, "--in", given(verb, folder / "in"), "--out", "out", *needed) == 1
    assert not Path("out").exists()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"llm-core: error: {verb}: the id 'd4' is in ")
    assert last.count("a.jsonl, row ") == 2
