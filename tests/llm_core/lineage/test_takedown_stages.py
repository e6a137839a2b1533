"""A takedown through all data stages: few shards change, and it is a run that never had the document, byte for byte."""

import json
import random
from pathlib import Path

import pytest

from llm_core.corpus.cleaning.stage import clean
from llm_core.corpus.decontamination.stage import decontaminate
from llm_core.corpus.deduplication.stage import dedup
from llm_core.corpus.split.stage import split
from llm_core.corpus.takedowns import write_rows
from llm_core.formats.documents import DocumentWriter, document_id
from llm_core.params import Params
from llm_core.tokenization.stage import tokenize
from llm_core.tokenization.training.stage import train_tokenizer

WORDS = [
    f"{first}{second}" for first in ("ri", "sto", "trea", "is", "har", "se") for second in ("ver", "ne", "ty", "la")
]
SHARD_BYTES, SHARD_TOKENS = 16_000, 4_000
PARAMS = Params.model_validate({"tokenizer": {"vocab_size": 320}, "cleaning": {"steps": ["repair"]}})
TWINS = (5, 300, 301)  # 300 repeats 5, 301 nearly does and, being longer, is kept instead of both
Files = dict[str, bytes]


def text(number: int) -> str:
    """Some 2,000 bytes, others for each number."""
    return " ".join(random.Random(number).choices(WORDS, k=400))


def run(
    folder: Path, without: tuple[int, ...] = (), tombstones: tuple[int, ...] = (), tokenizer: Path | None = None
) -> Files:
    """Clean to tokenize over 600 documents in `folder`; the bytes of every file written, ledgers left out."""
    texts = {number: text(number) for number in range(600)} | {300: text(5), 301: text(5) + " and one more"}
    with DocumentWriter(folder / "raw/documents") as writer:
        writer.write_rows(
            [
                {"id": document_id("web", str(number)), "source": "web", "text": texts[number]}
                for number in sorted(texts)
                if number not in without
            ]
        )
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks/task.jsonl").write_text(json.dumps({"id": "1", "text": text(-1)}) + "\n")
    file = folder / "takedowns.jsonl"
    write_rows(file, [{"id": document_id("web", str(number)), "reason": "asked"} for number in tombstones])
    clean([folder / "raw"], folder / "clean", PARAMS.cleaning)
    dedup([str(folder / "clean")], folder / "dedup", PARAMS.deduplication, 1, ["web"], file, shard_bytes=SHARD_BYTES)
    benchmarks = [str(folder / "benchmarks/task.jsonl")]
    decontaminate([str(folder / "dedup")], benchmarks, folder / "clear", PARAMS.decontamination, SHARD_BYTES)
    split([str(folder / "clear")], folder / "split", PARAMS.split, 1, SHARD_BYTES)
    if tokenizer is None:
        tokenizer = folder / "tokenizer"
        train_tokenizer([str(folder / "split/train")], tokenizer, PARAMS.tokenizer, 1)
    tokenize([folder / "split"], tokenizer, folder / "tokens", shard_tokens=SHARD_TOKENS)
    places = ("dedup/documents", "clear/documents", "split/train", "split/heldout", "tokenizer", "tokens")
    files = [file for place in places for file in (folder / place).rglob("*") if file.suffix in (".parquet", ".arrow")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files} | {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.glob("tokenizer/tokenizer.json")
    }


def changed(before: Files, after: Files, place: str) -> tuple[int, int]:
    """Files below `place` that differ, and all there."""
    names = {name for name in (*before, *after) if name.startswith(place)}
    return sum(before.get(name) != after.get(name) for name in names), len(names)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Files]:
    """A run with all documents."""
    folder = tmp_path_factory.mktemp("first")
    return folder, run(folder)


@pytest.mark.slow
def test_all_bytes_are_those_of_a_run_that_never_had_the_documents(first, tmp_path):
    removed = run(tmp_path / "removed", tombstones=TWINS)
    assert removed == run(tmp_path / "without", without=TWINS)
    assert removed != first[1]
    assert run(tmp_path / "back") == first[1]


@pytest.mark.slow
def test_few_shards_change_where_the_tokenizer_is_kept(first, tmp_path):
    folder, before = first
    after = run(tmp_path / "removed", tombstones=TWINS, tokenizer=folder / "tokenizer")
    assert after == run(tmp_path / "without", without=TWINS, tokenizer=folder / "tokenizer")
    for place in ("dedup", "clear", "split", "tokens"):
        differing, total = changed(before, after, place)
        assert total >= 60
        assert 1 <= differing <= 0.05 * total, place


@pytest.mark.slow
def test_a_hidden_twin_takes_the_place_of_a_removed_survivor(first, tmp_path):
    removed = run(tmp_path / "removed", tombstones=(301,))
    assert removed == run(tmp_path / "without", without=(301,))
    assert removed != run(tmp_path / "all", without=TWINS)
