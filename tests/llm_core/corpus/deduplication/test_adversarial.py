"""Adversarial inputs: one text a million times, a text of 100 MB, only empty texts, one common beginning."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from llm_core.corpus.deduplication.stage import dedup
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.params.deduplication import Deduplication
from llm_core.params.launch import BatchLaunch

BOUNDS = {"max_dropped_share": 1.0, "max_false_positive_rate": 1.0}


def run(folder: Path, texts: list[str], **changes) -> dict:
    with DocumentWriter(folder / "in/documents") as writer:
        for start in range(0, len(texts), 10_000):
            part = texts[start : start + 10_000]
            ids = pa.array([f"{start + row:08d}" for row in range(len(part))])
            nothing = {name: pa.nulls(len(part), pa.string()) for name in writer.schema.names}
            columns = nothing | {
                "id": ids,
                "source": pa.repeat("a", len(part)),
                "text": pa.array(part, pa.large_string()),
            }
            writer.write(pa.RecordBatch.from_arrays(list(columns.values()), schema=writer.schema))
    launch = BatchLaunch(**{name: changes.pop(name) for name in BatchLaunch.model_fields if name in changes})
    params = Deduplication(**{**BOUNDS, **changes})
    return dedup([str(folder / "in")], folder / "out", params, 7, ["a"], folder / "none", launch=launch)


def words(count: int, seed: int) -> str:
    return " ".join(f"w{number}" for number in random.Random(seed).choices(range(50_000), k=count))


def test_nothing_but_empty_texts(tmp_path):
    empty = ["", " ", "\n\n", "--- !", "\u200b"] * 4000
    with pytest.raises(UserError, match=r"dedup: none of 20000 documents is left \(empty 20000\)"):
        run(tmp_path / "a", empty)
    metrics = run(tmp_path / "b", [*empty, "a river"])
    assert metrics["documents_kept"] == 1
    assert metrics["dropped_by_reason"] == {"empty": 20_000}


def test_one_beginning_of_ten_kilobytes(tmp_path):
    """Alike in the first 10 KB and no further: all are kept; the same with a short rest of their own: one is."""
    beginning = words(1700, 1)
    assert len(beginning) >= 10_000
    apart = [f"{beginning} {words(2000, 2 + n)}" for n in range(40)]
    assert run(tmp_path / "a", apart)["documents_kept"] == 40
    alike = [f"{beginning} {words(20, 2 + n)}" for n in range(40)]
    assert run(tmp_path / "b", alike)["documents_kept"] == 1


def test_one_word_many_times_over(tmp_path):
    """Texts of one shingle each: every length is the same set, so the same text; the longest is kept."""
    metrics = run(tmp_path, ["spam " * length for length in range(5, 2005)])
    assert metrics["documents_kept"] == 1


@pytest.mark.slow
def test_one_text_a_million_times(tmp_path):
    metrics = run(tmp_path, [words(60, 1)] * 1_000_000, memory_mb=64)
    assert metrics["documents_kept"] == 1
    assert metrics["dropped_by_reason"] == {"exact_duplicate": 999_999}


@pytest.mark.slow
def test_a_text_of_sixty_megabytes_and_its_near_duplicate(tmp_path):
    long = words(2_000_000, 1) + " "
    long *= 1 + 50_000_000 // len(long)
    metrics = run(tmp_path, [long, long + "end", "a short text beside them that stays"], memory_mb=64)
    assert metrics["documents_kept"] == 2
    assert metrics["dropped_by_reason"] == {"near_duplicate": 1}
