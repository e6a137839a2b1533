"""Whole documents are held out, a share of each source, and no two similar documents are on different sides."""

import json
import random

import pytest

from llm_core.corpus.split.stage import split
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, read_documents
from llm_core.params.launch import BatchLaunch
from llm_core.params.split import Split
from llm_core.runtime.digests import content_digest

WORDS = [f"word{number}" for number in range(500)]


def run(tmp_path, rows, seed=1, **changes):
    with DocumentWriter(tmp_path / "in/documents") as writer:
        writer.write_rows(rows)
    metrics = split([str(tmp_path / "in")], tmp_path / "out", Split(**changes), seed)
    sides = [
        {name for batch in read_documents(tmp_path / "out" / side) for name in batch.column("id").to_pylist()}
        for side in ("train", "heldout")
    ]
    return *sides, metrics


def documents(count, source="s"):
    return [
        {"id": f"{source}{n}", "source": source, "text": " ".join(random.Random(f"{source}{n}").choices(WORDS, k=60))}
        for n in range(count)
    ]


def test_each_source_gives_its_share_and_every_document_has_one_side(tmp_path):
    rows = documents(200, "a") + documents(50, "b")
    train, heldout, metrics = run(tmp_path, rows, heldout_share=0.1)
    assert train | heldout == {row["id"] for row in rows}
    assert not train & heldout
    for source in "ab":
        table = metrics["by_source"][source]
        assert 0.08 < table["heldout_bytes"] / (table["heldout_bytes"] + table["train_bytes"]) < 0.16


def test_groups_and_near_duplicates_stay_together(tmp_path):
    rows = documents(120)
    for number, row in enumerate(rows):
        row["metadata"] = json.dumps({"country": number // 10})
    words = rows[0]["text"].split()
    rows.append({"id": "twin", "source": "s", "text": " ".join([*words[:55], "other", "end"])})
    for seed in range(6):
        train, heldout, _ = run(tmp_path, rows, seed, heldout_share=0.2, group_by={"s": "country"})
        for country in range(12):
            members = {f"s{number}" for number in range(country * 10, country * 10 + 10)}
            assert members <= train or members <= heldout
        assert ("twin" in heldout) == ("s0" in heldout)


def test_the_seed_decides_and_adding_documents_moves_few(tmp_path):
    rows = documents(200)
    first = run(tmp_path, rows, heldout_share=0.1)[1]
    assert run(tmp_path, rows[::-1], heldout_share=0.1)[1] == first
    assert run(tmp_path, rows, seed=2, heldout_share=0.1)[1] != first
    more = run(tmp_path, rows + documents(10, "t"), heldout_share=0.1)[1]
    assert {name for name in more if name.startswith("s")} == first


@pytest.mark.parametrize("launch", [{"workers": 1, "memory_mb": 16}, {"workers": 3}])
def test_where_it_runs_changes_no_bytes(tmp_path, launch):
    rows = documents(2500)
    for number, row in enumerate(rows):
        row["metadata"] = json.dumps({"part": number // 7})
    run(tmp_path, rows, group_by={"s": "part"})
    split([str(tmp_path / "in")], tmp_path / "other", Split(group_by={"s": "part"}), 1, launch=BatchLaunch(**launch))
    assert content_digest(tmp_path / "other") == content_digest(tmp_path / "out")


def test_a_group_that_no_document_has_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no document of s has the metadata field 'part'"):
        run(tmp_path, documents(5), group_by={"s": "part"})
    with pytest.raises(UserError, match=r"split\.group_by"):
        run(tmp_path, documents(5), group_by={"nowhere": "part"})
