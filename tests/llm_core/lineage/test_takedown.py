"""What is removed with a document, what that affects, and the proof of the removal."""

import shutil

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from llm_core.corpus import takedowns
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, document_id
from llm_core.lineage.index import Index, open_index
from llm_core.lineage.proof import check
from llm_core.lineage.takedown import plan
from tests.llm_core.lineage.conftest import IDS, rows
from tests.llm_core.lineage.test_journey import main_exit


@pytest.fixture
def index(project) -> Index:
    return open_index(project / "data")


def test_the_hidden_twin_leaves_too(index, project):
    found = plan(index, project / "data", "id", IDS[3], "asked by the author")
    assert found.named == [IDS[3]]
    assert found.twins == {IDS[4]: "same_text"}
    assert found.promoted == []
    assert found.shards == {"dedup": (1, 1), "tokens/train": (1, 1)}
    base, child = found.models
    assert base["model"] == str(project / "data/models/base")
    assert len(base["steps"]) >= 2  # seen in each of two epochs
    assert child["descends_from"].endswith("base")


def test_a_document_that_was_never_kept_touches_nothing(index, project):
    found = plan(index, project / "data", "id", IDS[39], "asked")
    assert found.shards == {"dedup": (0, 1), "tokens/train": (0, 1)}
    assert found.models == []


def test_a_domain_names_all_its_documents(index, project):
    found = plan(index, project / "data", "domain", "host0.example.org", "licence withdrawn")
    assert set(found.named) == set(IDS[0::3])
    assert set(found.twins) == {IDS[4]}  # the twin of 3 lies on another host


def test_nothing_found_is_told(index, project):
    with pytest.raises(UserError, match="no document found"):
        plan(index, project / "data", "url", "https://nowhere.example.org", "asked")


def test_apply_check_and_back_from_the_command_line(project, capsys):
    (project / "params.yaml").write_text(f"seed: 1\nnetwork: {{cache: {project / 'cache'}}}\n")
    request = ["takedown", "--id", IDS[3], "--reason", "asked"]
    assert main_exit(request) == 0
    assert not (project / "takedowns.jsonl").exists()
    assert main_exit([*request, "--apply"]) == 0
    written = takedowns.load(project / "takedowns.jsonl")
    assert written.values["id"] == {IDS[3], IDS[4]}
    assert main_exit([*request, "--apply"]) == 0  # twice is once
    assert len(takedowns.read_rows(project / "takedowns.jsonl")) == 2
    assert check(project / "data").left["dedup"] == 1  # nothing was rebuilt yet
    assert main_exit(["takedown", "--check"]) == 1
    assert "run `dvc repro`" in capsys.readouterr().err
    for file in (project / "data").glob("dedup/documents/*.parquet"):
        kept = pq.read_table(file).filter(pc.field("id") != IDS[3])
        pq.write_table(kept, file)
    shutil.rmtree(project / "data/tokens")
    assert main_exit(["takedown", "--check"]) == 0


@pytest.mark.parametrize("arguments", [[], ["--id", "1"], ["--id", "1", "--url", "u", "--reason", "r"]])
def test_half_a_request_is_refused(project, arguments, capsys):
    assert main_exit(["takedown", *arguments]) == 1
    assert "give one of" in capsys.readouterr().err


def test_the_id_that_a_source_gave_is_found_and_one_of_two_sources_is_refused(project):
    for source in ("a", "b"):
        with DocumentWriter(project / f"data/raw/{source}/documents") as writer:
            given = {"id": document_id(source, "7"), "source": source, "text": f"of {source}"}
            writer.write_rows([{**given, "metadata": '{"source_id": "7"}'}])
    index = open_index(project / "data")
    with pytest.raises(UserError, match="--id 7: 2 documents have this key"):
        plan(index, project / "data", "id", "7", "asked")
    assert plan(index, project / "data", "id", document_id("a", "7"), "asked").named == [document_id("a", "7")]


def test_a_tombstone_carries_hash_and_sketch_of_its_text(index, project):
    first, twin = plan(index, project / "data", "id", IDS[3], "asked").tombstones()
    text = rows()[3]["text"]
    assert first == {"id": IDS[3], "reason": "asked", **takedowns.describe(text)}
    assert twin == {"id": IDS[4], "reason": "asked", "twin": "same_text", "text_hash": takedowns.text_hash(text)}
    request, *_ = plan(index, project / "data", "domain", "HTTPS://host0.example.org/", "asked").tombstones()
    assert request == {"domain": "host0.example.org", "reason": "asked", "documents": 14}
    alone = plan(index, project / "data", "id", IDS[3], "asked", near_duplicates=False).tombstones()
    assert "sketch" not in alone[0]  # else the near-duplicates would leave with it
