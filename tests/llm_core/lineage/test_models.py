"""Which models were trained on a document, also by rows made from it; data that has changed since is searched for."""

import json
import shutil
from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.lineage.models import told, trained_models
from llm_core.lineage.training import chain
from llm_core.runtime.digests import content_digest, file_digest
from tests.llm_core.lineage.conftest import IDS
from tests.llm_core.lineage.test_journey import main_exit


def note(folder: Path, **values: object) -> None:
    """Add to a model's metrics.json."""
    file = folder / "metrics.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(found | values))


def cache(folder: Path, project: Path) -> str:
    """Put a folder into a DVC cache by hand, as DVC lays it out; its digest."""
    place = project / ".dvc/cache/files/md5"
    entries = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest = file_digest(file)
        (place / digest[:2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place / digest[:2] / digest[2:])
        entries.append({"md5": digest, "relpath": file.relative_to(folder).as_posix()})
    digest = content_digest(folder)
    (place / digest[:2]).mkdir(parents=True, exist_ok=True)
    (place / digest[:2] / digest[2:]).write_text(json.dumps(entries))
    return digest


def test_a_document_whose_rows_a_model_was_finetuned_on(project, capsys):
    rows = project / "data/finetuning/instruction"
    rows.mkdir(parents=True)
    (rows / "documents.json").write_text(
        json.dumps({"train": {IDS[4]: ["row1", "row7"]}, "heldout": {IDS[5]: ["row2"]}})
    )
    child = project / "data/models/instruction"
    note(child, data={"path": "data/finetuning/instruction", "digest": content_digest(rows)})
    assert trained_models(project / "data/models", {IDS[4]}) == [  # not pretrained on: its twin was kept instead
        {"model": str(child), "rows": ["row1", "row7"], "data": "data/finetuning/instruction"}
    ]
    ways = [told(row) for row in trained_models(project / "data/models", {IDS[5]})]
    assert len(ways) == 2
    assert not any("finetuned" in way for way in ways)  # held-out rows train nothing
    assert main_exit(["documents", "--model", str(child)]) == 0
    assert f"{child}: finetuned on data/finetuning/instruction, rows made from 1 documents" in capsys.readouterr().out
    for seen, ways in ((["row7"], 1), ([], 0)):  # the rows that the training reached before it ended
        (child / "training_rows.jsonl").write_text(json.dumps({"step": 1, "rows": seen}) + "\n")
        told_rows = [use["rows"] for use in trained_models(project / "data/models", {IDS[4]})]
        assert told_rows == [seen] * ways
    (rows / "documents.json").write_text("{}")
    base, answer, _ = trained_models(project / "data/models", {IDS[5]})
    assert "not here as they were" in answer["unknown"]
    assert base["steps"]
    assert main_exit(["documents", "--model", str(child)]) == 0
    assert "not here as they were" in capsys.readouterr().out


def test_token_shards_that_changed_since_are_found_in_the_cache_or_it_is_said(project):
    base = project / "data/models/base"
    before = trained_models(project / "data/models", {IDS[7]})
    record = json.loads((base / "training_data.json").read_text())
    digest = cache(project / "data/tokens/train", project)
    (base / "training_data.json").write_text(json.dumps(record | {"tokens_digest": digest}))
    shutil.rmtree(project / "data/tokens/train")
    assert trained_models(project / "data/models", {IDS[7]}) == before
    shutil.rmtree(project / ".dvc")
    shutil.rmtree(project / ".scratch", ignore_errors=True)
    rows = trained_models(project / "data/models", {IDS[7]})
    assert ["not here as they were" in row["unknown"] for row in rows] == [True, True]
    assert "cannot be determined" in told(rows[0])


def test_a_parent_trained_anew_is_not_taken_for_the_one_before(project):
    base, child = project / "data/models/base", project / "data/models/instruction"
    digest = cache(base, project)
    note(child, parent={"path": "data/models/base", "digest": digest})
    assert [folder.name for folder in chain(child, verify=True)] == ["instruction", "base"]
    (base / "config.json").write_text('{"trained": "anew"}')
    assert [folder.name for folder in chain(child, verify=True)] == ["instruction", digest]
    shutil.rmtree(project / ".dvc")
    with pytest.raises(UserError, match="neither here nor in DVC's cache"):
        chain(child, verify=True)
    assert chain(child, {digest: project / "elsewhere"}, verify=True)[-1] == project / "elsewhere"


def test_a_model_folder_that_is_not_there_is_named(project, capsys):
    """A mistyped model, and a finetune whose parent was deleted, are not models of another origin."""
    assert main_exit(["documents", "--model", "data/models/nothing"]) == 1
    assert "data/models/nothing: no such model folder\n" in capsys.readouterr().err
    shutil.move(project / "data/models/base", project / "moved")
    child = project / "data/models/instruction"
    assert main_exit(["documents", "--model", str(child)]) == 1
    assert f"data/models/base: no such model folder, from which {child} was made" in capsys.readouterr().err
    assert [told(use) for use in trained_models(project / "data/models", {IDS[5]})] == [
        f"cannot be determined: {Path('data/models/base')} is not here"
    ]
    note(child, merged={"models": [{"path": "moved"}]}, parent=None)
    note(project / "moved", parent=None)
    record = json.loads((project / "moved/training_data.json").read_text())
    (project / "moved/training_data.json").write_text(json.dumps(record | {"parent": "data/models/base"}))
    assert main_exit(["documents", "--model", str(child)]) == 0
    assert "data/models/base: is not here, so what it was trained on is not listed" in capsys.readouterr().out
