"""Kept pieces: only what changed is computed again, and the bytes are those of a run from scratch."""

import errno
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from llm_core.cli.extract import extract as verb
from llm_core.corpus.cleaning import kept_pieces, stage
from llm_core.corpus.cleaning.stage import clean
from llm_core.formats.pieces import Piece
from llm_core.params.cleaning import Cleaning
from llm_core.params.launch import CleaningLaunch
from llm_core.runtime.digests import content_digest
from tests.llm_core.corpus.sources.warc_files import packed, record

PARAMS = Cleaning.model_validate({"steps": ["repair", "gopher_quality"], "drop_samples": 3})
KEPT = CleaningLaunch(workers=1, kept_mb=100)
WORDS = ["the", "river", "town", "stone", "of", "winter", "and", "bridge", "with", "forest", "that", "to", "be"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose pieces are given to workers."""
    files: list[str] = []
    run = stage.run

    def counted(function, works, *arguments, **settings):
        files.extend(Path(work.piece.file).name for work in works)
        return run(function, works, *arguments, **settings)

    monkeypatch.setattr(stage, "run", counted)
    return files


def write(number: int, salt: str = "") -> None:
    draw = random.Random(f"{number}{salt}")
    Path("in").mkdir(exist_ok=True)
    rows = []
    for row in range(6):  # every third one is too short for Gopher's rules
        text = " ".join(draw.choices(WORDS, k=8 if row % 3 == 2 else 90)) + ".  caf\u0065\u0301"
        rows.append(json.dumps({"id": f"{number}-{row}", "text": text, "source": f"s{number % 2}"}))
    Path(f"in/{number:02}.jsonl").write_text("\n".join(rows) + "\n")


def test_five_percent_more_input_redoes_five_percent_and_gives_the_bytes_of_a_run_from_scratch(begun):
    for number in range(20):
        write(number)
    scratch = clean(["in"], Path("scratch"), PARAMS, launch=CleaningLaunch(workers=1))
    assert scratch["documents_dropped"] == 40, "samples of drops are kept too"
    assert not kept_pieces.FOLDER.exists(), "by default nothing is kept"
    clean(["in"], Path("first"), PARAMS, launch=KEPT)
    assert content_digest(Path("first")) == content_digest(Path("scratch"))
    begun.clear()
    write(20)
    write(7, "changed")
    clean(["in"], Path("second"), PARAMS, launch=KEPT)
    assert begun == ["07.jsonl", "20.jsonl"]
    clean(["in"], Path("whole"), PARAMS, launch=CleaningLaunch(workers=1))
    assert content_digest(Path("second")) == content_digest(Path("whole"))
    assert content_digest(Path("second")) != content_digest(Path("first"))


@pytest.mark.parametrize("name", ["documents/00000.parquet", "piece.json"])
def test_a_damaged_piece_is_computed_again(begun, name):
    write(0)
    write(1)
    clean(["in"], Path("first"), PARAMS, launch=KEPT)
    begun.clear()
    file = sorted(kept_pieces.FOLDER.glob(f"*/{name}"))[0]
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"documents_in": 6', b'"documents_in": 5') if name == "piece.json" else data[:-1])
    assert file.read_bytes() != data
    clean(["in"], Path("second"), PARAMS, launch=KEPT)
    assert len(begun) == 1
    assert content_digest(Path("second")) == content_digest(Path("first"))


def test_other_params_files_that_they_name_code_and_packages_reuse_nothing(begun, monkeypatch, tmp_path):
    write(0)
    Path("words.txt").write_text("zebra\n")
    listed = {"steps": ["repair", "bad_words"], "bad_words": {"files": ["words.txt"]}}
    for change in ("first", "params", "file", "code", "packages"):
        begun.clear()
        if change == "params":
            listed["min_characters"] = 40
        if change == "file":
            Path("words.txt").write_text("okapi\n")
        if change == "code":
            monkeypatch.setattr(kept_pieces, "ROOMS", (*kept_pieces.ROOMS, "lineage"))
        if change == "packages":
            (tmp_path / "installed/another-1.0.dist-info").mkdir(parents=True)
            (tmp_path / "installed/another-1.0.dist-info/METADATA").write_text("Name: another\nVersion: 1.0\n")
            monkeypatch.syspath_prepend(tmp_path / "installed")
        clean(["in"], Path("out"), Cleaning.model_validate(listed), launch=KEPT)
        assert begun == ["00.jsonl"], change
    begun.clear()
    clean(["in"], Path("out"), Cleaning.model_validate(listed), launch=KEPT)
    assert begun == []
    shutil.move("in", "elsewhere")  # ledgers name the files that were read
    clean(["elsewhere"], Path("out"), Cleaning.model_validate(listed), launch=KEPT)
    assert begun == ["00.jsonl"]


def test_extract_redoes_only_the_warc_files_that_are_new(begun):
    def extract(out: str, *, source: str = "web", kept_mb: int = 0) -> str:
        begun.clear()
        settings = [f"launch.cleaning.kept_mb={kept_mb}", "launch.cleaning.workers=1"]
        verb(["warc"], Path(out), source, Path("params.yaml"), settings)
        return content_digest(Path(out))

    Path("params.yaml").write_text("{}")
    Path("warc").mkdir()
    for number in range(4):
        pages = packed([record(2 * number + one) for one in range(2)])
        Path(f"warc/{number}.warc.gz").write_bytes(pages[: -20 if number == 3 else None])  # one is cut off
    extract("first", kept_mb=100)
    Path("warc/4.warc.gz").write_bytes(packed([record(9)]))
    second = extract("second", kept_mb=100)
    assert begun == ["4.warc.gz"]
    assert second == extract("scratch") != content_digest(Path("first"))
    extract("named", source="other", kept_mb=100)
    assert len(begun) == 5, "documents name their source"


def test_what_is_kept_is_bounded_and_the_longest_unused_leaves_first(begun):
    for number in range(4):
        write(number)
    clean(["in/00.jsonl", "in/01.jsonl"], Path("out"), PARAMS, launch=KEPT)
    size = sum(file.stat().st_size for file in kept_pieces.FOLDER.rglob("*") if file.is_file())
    pieces = kept_pieces.KeptPieces(PARAMS, PARAMS.steps, "clean", 0, stage._named(stage.read_piece))
    pieces.bound = size + 10
    assert pieces._room(0)
    assert len(list(kept_pieces.FOLDER.iterdir())) == 2
    (first, *_), (second, *_) = (stage.divide([f"in/0{number}.jsonl"]) for number in range(2))
    assert pieces.has(pieces.key(first))
    assert pieces._room(size // 2)
    assert pieces.has(pieces.key(first)), "it is used in this run"
    assert not pieces.has(pieces.key(second))
    assert not pieces._room(size * 2), "what is larger than the bound is not kept"


def test_files_that_cannot_be_read_have_no_key_and_a_pipe_is_not_waited_for(monkeypatch):
    write(0)
    os.mkfifo("in/pipe.jsonl")
    digest = kept_pieces.file_digest

    def read(path, algorithm):
        assert path.is_file(), "it would be waited for"
        if path.parent == Path("in"):
            raise OSError(errno.EIO, "Input/output error")
        return digest(path, algorithm)

    monkeypatch.setattr(kept_pieces, "file_digest", read)
    pieces = kept_pieces.KeptPieces(PARAMS, PARAMS.steps, "clean", 100)
    assert [pieces.key(Piece(f"in/{name}.jsonl")) for name in ("00", "pipe", "none")] == [None] * 3
    metrics = clean(["in/00.jsonl"], Path("out"), PARAMS, launch=KEPT)
    assert metrics["documents_in"] == 6, "the piece's own reader decides"
    assert not kept_pieces.FOLDER.exists()


def test_a_piece_whose_file_changed_while_it_was_read_is_not_kept(begun, monkeypatch):
    write(0)
    run = stage.run

    def changed(*arguments, **settings):
        write(0, "changed")
        return run(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "run", changed)
        clean(["in"], Path("out"), PARAMS, launch=KEPT)
    assert not kept_pieces.FOLDER.exists()
    write(0)
    begun.clear()
    clean(["in"], Path("second"), PARAMS, launch=KEPT)
    assert begun == ["00.jsonl"]
