"""`llm-core plan` names the exact param and file, and adds up past runs."""

import json
import shutil
from pathlib import Path

from pipelines.plan import describe, plan
from tests.pipelines import toy_project as toy


def test_nothing(reproduced: Path) -> None:
    assert plan(reproduced) == []
    assert describe([], 0) == ["Nothing is stale: `dvc repro` would run nothing."]


def test_reasons_and_costs(reproduced: Path) -> None:
    toy.edit(reproduced, "params.yaml", "min_length: 2", "min_length: 3")
    (reproduced / "code" / "other.py").write_text("x = 1\n")
    (reproduced / ".scratch").mkdir()
    rows = [{"stage": "long@a", "seconds": s, "cpu_seconds": 2 * s} for s in (1.0, 5.0, 3.0)]
    (reproduced / ".scratch" / "timings.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = {item.stage: item for item in plan(reproduced)}
    assert {name: item.sure for name, item in found.items()} == {
        "long@a": True,
        "long@b": True,
        "join": False,
        "report": False,
        "slow": False,
    }
    reasons = " | ".join(found["long@a"].reasons)
    assert "param cleaning.min_length: 2 -> 3" in reasons and "code/other.py" in reasons
    assert found["join"].reasons == ["if long@a, long@b changes its output"]
    assert (found["long@a"].expectation.seconds, found["long@a"].expectation.cpu_seconds) == (3.0, 6.0)
    assert "0.0100 in money" in describe([found["long@a"]], price=6.0)[0], "6 CPU seconds at 6 an hour"


def test_the_expected_time_follows_the_number_of_steps(reproduced: Path) -> None:
    pace = {"param": "slow.steps", "steps": 320, "seconds": 160.0}
    row = {"stage": "slow", "seconds": 180.0, "cpu_seconds": 360.0, "pace": pace}
    (reproduced / ".scratch").mkdir()
    (reproduced / ".scratch" / "timings.jsonl").write_text(json.dumps(row))
    toy.edit(reproduced, "params.yaml", "steps: 0", "steps: 30")
    (slow,) = plan(reproduced)
    # 20 seconds that no step took, and 30 steps of half a second; of CPU twice as much
    assert (slow.expectation.seconds, slow.expectation.cpu_seconds) == (35.0, 70.0)


def test_command_output_and_first_run(reproduced: Path, project: Path) -> None:
    toy.edit(reproduced, "dvc.yaml", "join data/join", "join  data/join")
    (reproduced / "data/report/documents/words.txt").write_text("x")
    found = {item.stage: item.reasons for item in plan(reproduced) if item.sure}
    assert found == {"join": ["command changed"], "report": ["its own output data/report modified"]}
    assert all(item.reasons == ["has never run"] and item.sure for item in plan(project))


def test_what_the_cache_holds_is_restored(reproduced: Path) -> None:
    """The plan says "restore" where `dvc repro` then runs no command: deleted outputs, and params set back."""
    shutil.rmtree(reproduced / "data")
    assert {item.stage: item.restored for item in plan(reproduced)} == dict.fromkeys(
        ["words@a", "words@b", "long@a", "long@b", "join", "report", "slow"], True
    )
    assert "> python" not in toy.repro(reproduced)
    assert plan(reproduced) == []
    toy.edit(reproduced, "params.yaml", "title: toy", "title: game")
    assert [(item.stage, item.restored) for item in plan(reproduced)] == [("report", False)]
    assert "> python code/stage.py join data/report" in toy.repro(reproduced)
    toy.edit(reproduced, "params.yaml", "title: game", "title: toy")
    (item,) = plan(reproduced)
    assert (item.stage, item.restored) == ("report", True)
    assert "restore report" in describe([item], 0)[0]
    assert "> python" not in toy.repro(reproduced)


def test_what_has_left_the_cache_is_run(reproduced: Path) -> None:
    shutil.rmtree(reproduced / "data/report")
    shutil.rmtree(reproduced / ".dvc/cache")
    assert {item.stage: item.restored for item in plan(reproduced)}["report"] is False
