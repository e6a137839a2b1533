"""A document's journey says what happened to it, and the steps named are those whose batches held it."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llm_core.cli import main
from llm_core.errors import UserError
from llm_core.lineage import search
from llm_core.lineage.index import Index, open_index
from llm_core.lineage.journey import journey
from llm_core.lineage.training import ancestry, documents
from llm_core.runtime.digests import content_digest
from tests.llm_core.lineage.conftest import IDS, STEPS


@pytest.fixture
def index(project: Path) -> Index:
    return open_index(project / "data")


def found(hits: list[search.Hit]) -> list[str]:
    return [hit.id for hit in hits]


def test_a_document_is_found_by_whatever_one_has_of_it(index):
    assert found(search.by_id(index, IDS[7])) == [IDS[7]]
    assert found(search.by_id(index, IDS[7][:10])) == [IDS[7]]
    assert found(search.by_url(index, "https://host1.example.org/page/7")) == [IDS[7]]
    assert sorted(found(search.by_domain(index, "host1.example.org"))) == sorted(IDS[1::3])
    assert len(search.by_domain(index, "example.org")) == 40
    assert search.by_domain(index, "ample.org") == []
    assert len(search.by_domain(index, "HTTP:\\\\user@EXAMPLE.org.:80")) == 40
    assert sorted(found(search.by_domain(index, "www.host1.example.org"))) == sorted(IDS[1::3])
    assert found(search.by_url(index, "http:/HOST1.example.org:443/page/../page/%37#top")) == [IDS[7]]
    assert found(search.by_text(index, "article 7 was")) == [IDS[7]]
    twins = search.by_text(index, "The  treaty of article 3 was\nsigned by both parties")
    assert sorted(found(twins)) == sorted([IDS[3], IDS[4]])
    assert found(search.by_text(index, "parties signd treaty artcle 12"))[0] == IDS[12]
    with pytest.raises(UserError, match="no word"):
        search.by_text(index, "…")


def test_dropped_documents_name_stage_reason_and_survivor(index, project):
    short = journey(index, IDS[39], project / "data")
    assert short.fate == "dropped by clean: too_short"
    assert [row["stage"] for row in short.decisions] == ["fetch", "clean"]
    assert short.tokens == short.training == []
    twin = journey(index, IDS[4], project / "data")
    assert twin.fate == "dropped by dedup: exact_duplicate"
    assert [row["id"] for row in twin.cluster] == sorted([IDS[3], IDS[4]])
    assert any(f"{IDS[3]} kept instead" in line for line in twin.lines())


def test_the_steps_named_are_those_whose_batches_held_the_document(index, project):
    seen: dict[str, set[int]] = {}
    for batch in documents(ancestry(project / "data/models/base")[0]):
        for row in batch.to_pylist():
            seen.setdefault(row["id"], set()).add(row["step"])
    assert len(seen) == 38  # 40 less the short one and the twin
    for identifier in (IDS[0], IDS[20], IDS[38]):
        told = journey(index, identifier, project / "data")
        assert told.tokens[0]["part"] == "train"
        base, child = told.training
        assert base["steps"] == sorted(seen[identifier])
        assert base["of"] == STEPS
        assert child["descends_from"].endswith("data/models/base")


def test_an_unknown_id_is_told_in_one_line(index, project):
    with pytest.raises(UserError, match="no document of that id"):
        journey(index, "0" * 32, project / "data")


def test_the_index_follows_the_ledgers(project):
    first = open_index(project / "data").folder
    assert open_index(project / "data").folder == first
    ledger = project / "data/dedup/ledger/00000.parquet"
    pq.write_table(pq.read_table(ledger).slice(1), ledger)
    assert open_index(project / "data").folder != first
    assert not first.exists()


def test_documents_of_a_model_from_the_command_line(project, capsys):
    main_exit(["documents", "--model", "data/models/instruction", "--steps", "2:4", "--out-file", "out.parquet"])
    table = pq.read_table("out.parquet")
    assert set(table.column("step").to_pylist()) == {2, 3}
    assert "data/models/base, steps 2 to 3" in capsys.readouterr().out
    main_exit(["trace", "--url", "https://host1.example.org/page/7"])
    assert f"document {IDS[7]} of web: kept" in capsys.readouterr().out


def test_the_listing_of_a_model_has_every_forebear_and_every_finetuning_row(project, capsys):
    """A model pretrained on, from a pretrained parent, and finetuned: none of the three writes over another."""
    shutil.copytree(project / "data/models/base", project / "data/models/first")
    record = json.loads((project / "data/models/base/training_data.json").read_text())
    (project / "data/models/base/training_data.json").write_text(json.dumps(record | {"parent": "data/models/first"}))
    rows = project / "data/finetuning/instruction"
    rows.mkdir(parents=True)
    (rows / "documents.json").write_text(
        json.dumps({"train": {IDS[4]: ["row1", "row2"]}, "heldout": {IDS[5]: ["row3"]}})
    )
    child = project / "data/models/instruction"
    about = json.loads((child / "metrics.json").read_text())
    about["data"] = {"path": "data/finetuning/instruction", "digest": content_digest(rows)}
    (child / "metrics.json").write_text(json.dumps(about))
    assert main_exit(["documents", "--model", str(child), "--out-file", "out/listing.parquet"]) == 0
    listing = pq.read_table("out/listing.parquet").to_pylist()
    assert f"out/listing.parquet: {len(listing)} rows" in capsys.readouterr().out
    generations = {number: [row for row in listing if row["generation"] == number] for number in (0, 1, 2)}
    assert [(row["id"], row["row"], row["step"]) for row in generations[0]] == [
        (IDS[4], "row1", None),
        (IDS[4], "row2", None),
    ]
    (child / "training_rows.jsonl").write_text('{"step": 1, "rows": ["row2"]}\n{"step": 2, "rows": ["row2", "row4"]}\n')
    assert main_exit(["documents", "--model", str(child), "--out-file", "out/exact.parquet"]) == 0
    own = [row for row in pq.read_table("out/exact.parquet").to_pylist() if row["generation"] == 0]
    assert [(row["id"], row["row"], row["step"]) for row in own] == [(IDS[4], "row2", 1), (IDS[4], "row2", 2)]
    (base,) = ancestry(project / "data/models/first")
    seen = [row for batch in documents(base) for row in batch.to_pylist()]
    for number, name in ((1, "base"), (2, "first")):
        assert {row["model"] for row in generations[number]} == {f"data/models/{name}"}
        assert [{key: row[key] for key in seen[0]} for row in generations[number]] == seen
    for row in listing:
        number = IDS.index(row["id"])
        assert row["source"] == "web"
        assert row["license"] == "public-domain"
        assert row["url"] == f"https://host{number % 3}.example.org/page/{number}"
    record = project / "data/models/first/training_data.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"steps": 3}))
    assert main_exit(["documents", "--model", str(child), "--steps", "2:5", "--out-file", "out/some.parquet"]) == 0
    assert "data/models/first, steps 2 to 2 (the last of this training): " in capsys.readouterr().out
    some = {(row["generation"], row["step"]) for row in pq.read_table("out/some.parquet").to_pylist()}
    assert some == {(1, 2), (1, 3), (1, 4), (2, 2)}
    assert main_exit(["documents", "--model", str(child), "--steps", "3:5"]) == 0
    assert "data/models/first: none of these steps, its training has 0 to 2" in capsys.readouterr().out
    assert sorted(os.listdir("out")) == ["exact.parquet", "listing.parquet", "some.parquet"]


def test_a_listing_without_ledgers_says_that_it_has_no_licences(project, capsys):
    for ledger in project.glob("data/**/ledger"):
        shutil.rmtree(ledger)
    assert main_exit(["documents", "--model", "data/models/base", "--out-file", "out.parquet"]) == 0
    assert "without licences" in capsys.readouterr().err
    table = pq.read_table("out.parquet")
    assert table.num_rows
    assert table["license"].null_count == table.num_rows


@pytest.mark.parametrize(
    ("steps", "told"), [("4:2", "steps 0:21"), ("a:b", "write A:B"), ("21:", "steps 0:21"), ("20:22", "0:21")]
)
def test_steps_outside_the_training(project, capsys, steps, told):
    assert main_exit(["documents", "--model", "data/models/base", "--steps", steps]) == 1
    assert told in capsys.readouterr().err


def main_exit(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)
