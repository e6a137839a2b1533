"""`rebuild_stale` requests what an edit made stale, whether the edit came before the sensor's first evaluation or
after."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from tests.pipelines import toy_project as toy
from tests.pipelines.dagster_view import mirror, statuses

Build = Callable[[Path], dg.Definitions]


def asked(evaluation: dg.EvaluateAutomationConditionsResult) -> set[str]:
    return {result.key.to_user_string() for result in evaluation.results if not result.true_subset.is_empty}


def test_an_edit_after_the_first_look(reproduced: Path, instance: dg.DagsterInstance, definitions: Build) -> None:
    mirror(reproduced, instance)
    first = dg.evaluate_automation_conditions(definitions(reproduced), instance)
    again = dg.evaluate_automation_conditions(definitions(reproduced), instance, cursor=first.cursor)
    assert not asked(again)
    toy.edit(reproduced, "params.yaml", "min_length: 2", "min_length: 3")
    edited = dg.evaluate_automation_conditions(definitions(reproduced), instance, cursor=again.cursor)
    assert {"long_a", "long_b"} <= asked(edited)
    assert not asked(edited) & {"words_a", "words_b"}


def test_an_edit_before_the_first_look(reproduced: Path, instance: dg.DagsterInstance, definitions: Build) -> None:
    """A slow daemon looks for the first time after the edit; so does one that is switched on the day after."""
    mirror(reproduced, instance)
    toy.edit(reproduced, "params.yaml", "min_length: 2", "min_length: 3")
    stale = {name for name, status in statuses(definitions(reproduced), instance).items() if status == "STALE"}
    assert stale
    found = asked(dg.evaluate_automation_conditions(definitions(reproduced), instance))
    assert {"long_a", "long_b"} <= found, "the stale ones; DVC skips those that are fresh"
