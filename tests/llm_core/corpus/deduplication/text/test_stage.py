"""Text that is in several documents stays in one of them, the same whatever the order; nothing else changes."""

import json
import random
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.corpus.deduplication.text.stage import dedup_text
from llm_core.corpus.deduplication.text.substrings import SubstringFinder
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.params.launch import TextDeduplicationLaunch
from llm_core.params.text_deduplication import TextDeduplication

NOTICE = "All rights of this page are kept by nobody at all, and it may be copied."
OWN = {name: f"What {name} says here is said by {name} and by no other page of them." for name in "abc"}
PARAGRAPH, LINE, SUBSTRING = (TextDeduplication(unit=unit) for unit in ("paragraph", "line", "substring"))


def write(folder: Path, rows: list[dict[str, str]], shards: int = 1) -> str:
    for shard in range(shards):
        with DocumentWriter(folder / f"{shard}/documents") as writer:
            writer.write_rows(rows[shard::shards])
    return str(folder)


def run(
    folder: Path, rows: list[dict[str, str]], params: TextDeduplication, shards: int = 1, memory_mb: int = 1024
) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """(text by id, ledger row by id, metrics)"""
    inputs = write(folder / "in", rows, shards)
    out = folder / "out"
    launch = TextDeduplicationLaunch(memory_mb=memory_mb)
    paths = [f"{inputs}/{shard}" for shard in range(shards)]
    metrics = dedup_text(paths, out, params, 1, ["first", "second"], launch=launch)
    kept = pq.read_table(out / "documents").to_pylist()
    judged = pq.read_table(out / "ledger").to_pylist()
    assert json.loads((out / "metrics.json").read_text()) == metrics
    return {row["id"]: row["text"] for row in kept}, {row["id"]: row for row in judged}, metrics


def rows_of(texts: dict[str, str], source: str = "first") -> list[dict[str, str]]:
    return [{"id": name, "source": source, "text": text} for name, text in texts.items()]


def test_a_paragraph_of_two_documents_stays_in_the_one_of_first_source(tmp_path: Path) -> None:
    long = f"{OWN['a']}\n\n{NOTICE}\n\n{OWN['a']} Indeed."
    rows = rows_of({"a": long}, "second") + rows_of({"b": f"{NOTICE}\n\n{OWN['b']}"}, "first")
    rows += rows_of({"c": f"{OWN['c']}\n \n{NOTICE.upper()}\n"}, "unnamed")
    texts, ledger, metrics = run(tmp_path, rows, PARAGRAPH)
    assert texts == {"a": f"{OWN['a']}\n\n{OWN['a']} Indeed.", "b": rows[1]["text"], "c": OWN["c"]}
    assert {name: row["verdict"] for name, row in ledger.items()} == {"a": "changed", "b": "kept", "c": "changed"}
    assert ledger["a"]["reason"] == "repeated_paragraph" and ledger["a"]["survivor_id"] == "b"
    assert ledger["a"]["score"] == pytest.approx((len(NOTICE) + 2) / len(long))
    assert ledger["b"]["reason"] is None and ledger["b"]["survivor_id"] is None
    assert (metrics["documents_changed"], metrics["documents_dropped"], metrics["pieces_removed"]) == (2, 0, 2)
    assert metrics["bytes_removed"] == sum(len(row["text"]) for row in rows) - sum(map(len, texts.values()))


def test_short_paragraphs_and_those_repeated_within_a_document_stay(tmp_path: Path) -> None:
    chorus = f"{OWN['a']}\n\nRefrain of three words\n\n{OWN['a']}"
    texts, _, metrics = run(tmp_path, rows_of({"a": chorus, "b": f"Refrain of three words\n\n{OWN['b']}"}), PARAGRAPH)
    assert texts["a"] == chorus and texts["b"].startswith("Refrain") and metrics["pieces_removed"] == 0


def test_lines(tmp_path: Path) -> None:
    texts, ledger, _ = run(tmp_path, rows_of({"a": f"{OWN['a']}\n{NOTICE}\n", "b": f"{NOTICE}\nmine"}), LINE)
    assert texts == {"a": f"{OWN['a']}\n{NOTICE}\n", "b": "mine"} and ledger["b"]["reason"] == "repeated_line"


@pytest.mark.parametrize("params", [PARAGRAPH, LINE])
def test_blank_ends_of_a_neighbour_change_nothing(params: TextDeduplication, tmp_path: Path) -> None:
    rows = rows_of({"a": f"{NOTICE}\n\n{OWN['a']} {OWN['c']}", "b": f"    {NOTICE}\n\n{OWN['b']}", "c": "own\n\n"})
    for number, order in enumerate(permutations(rows)):
        texts, _, _ = run(tmp_path / str(number), list(order), params)
        assert texts == {"a": rows[0]["text"], "b": OWN["b"], "c": "own\n\n"}


def test_a_document_of_nothing_else_is_dropped_and_counted(tmp_path: Path) -> None:
    texts, ledger, metrics = run(tmp_path, rows_of({"a": f"{NOTICE}\n\n{OWN['a']}", "b": NOTICE, "c": ""}), PARAGRAPH)
    assert set(texts) == {"a", "c"} and ledger["b"]["verdict"] == "dropped" and ledger["b"]["survivor_id"] == "a"
    assert metrics["bytes_removed"] == len(NOTICE) == metrics["bytes_dropped"]


def test_substrings_are_cut_between_words_and_characters(tmp_path: Path) -> None:
    shared = "ß und über allem ☃ das gleiche Stück Text, das in beiden steht, " * 6
    rows = rows_of({"a": f"Vorher {shared}nachher und länger", "b": f"Xvorher {shared}nachts"})
    texts, ledger, _ = run(tmp_path, rows, SUBSTRING)
    assert texts["a"] == rows[0]["text"]
    assert texts["b"] == "Xvorher nachts" and ledger["b"]["reason"] == "repeated_substring"


def test_too_much_text_for_substrings_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"memory_mb 16.*unit: paragraph"):
        run(tmp_path, rows_of({"a": "word " * 200_000}), SUBSTRING, memory_mb=16)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("unit", ["paragraph", "line", "substring"])
def test_the_same_texts_for_any_order_shards_and_memory(unit: str, tmp_path: Path) -> None:
    draw = random.Random(5)
    pool = [" ".join(draw.choices([f"w{n}" for n in range(500)], k=draw.randint(3, 60))) for _ in range(60)]
    texts = {f"{n:03}": "\n\n".join(draw.choices(pool, k=draw.randint(0, 6))) for n in range(200)}
    rows = rows_of(texts)
    reference, _, metrics = run(tmp_path / "0", rows, TextDeduplication(unit=unit))
    assert metrics["documents_changed"] > 20 and metrics["documents_in"] == 200
    for number, (shards, memory) in enumerate([(3, 1024), (7, 16)], start=1):
        draw.shuffle(rows)
        again, _, _ = run(tmp_path / str(number), rows, TextDeduplication(unit=unit), shards, memory)
        assert again == reference
    if unit == "paragraph":
        where: dict[str, set[str]] = {}
        for name, text in reference.items():
            for piece in text.split("\n\n"):
                where.setdefault(piece, set()).add(name)
        for piece in {piece for text in texts.values() for piece in text.split("\n\n") if len(piece.split()) >= 10}:
            assert len(where[piece]) == 1, "in one document, and not lost"


@settings(max_examples=60)
@given(st.lists(st.text(alphabet=".,;", max_size=14), min_size=1, max_size=6), st.integers(2, 6))
def test_substrings_are_those_of_a_comparison_of_all_with_all(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], least: int
) -> None:
    finder = SubstringFinder(tmp_path_factory.mktemp("found"), least, 64)
    keys = np.stack([np.arange(len(texts), dtype=np.uint64)] * 2, axis=1)
    finder.add(pa.array(texts, pa.large_string()), keys)
    cuts = finder.finish()
    for number, text in enumerate(texts):
        cut = {
            place
            for start in range(len(text))
            for end in range(start + least, len(text) + 1)
            if any(text[start:end] in earlier for earlier in texts[:number])
            for place in range(start, end)
        }
        starts, ends, holders = cuts.of(number)
        found = [place for start, end in zip(starts, ends, strict=True) for place in range(start, end)]
        assert found == sorted(cut) and all(holder < number for holder in holders)


def test_ray_is_refused_where_one_suffix_array_is_needed(tmp_path: Path) -> None:
    inputs = write(tmp_path / "in", [{"id": "a", "source": "s", "text": NOTICE}])
    launch = TextDeduplicationLaunch(runner="ray")
    with pytest.raises(UserError, match=r"launch\.text_deduplication\.runner: ray: substrings .* on one machine"):
        dedup_text([inputs], tmp_path / "out", SUBSTRING, 1, [], launch=launch)
    assert not (tmp_path / "out").exists()
