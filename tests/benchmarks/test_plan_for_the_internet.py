"""The page of the docs is what the plan computes, and the plan is what the simulated scheduler does."""

import re

import pytest

from benchmarks.plan_for_the_internet import FIGURES, PAGE, SIZES, TROUBLES, defaults, filled, stages, whole
from benchmarks.scheduler_simulation import TOLERANCE, PieceLostError, Trouble, simulate
from llm_core.runtime.engine import AHEAD


def test_the_page_is_what_the_plan_computes_and_the_simulation_agrees():
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page, defaults()), "run python -m benchmarks.plan_for_the_internet --write"
    tables = page.partition("## The scheduler, simulated")[2].partition("## Unit costs")[0]
    rows = [row.split(" | ") for row in tables.splitlines() if re.match(r"\|.* \d+ \|$", row)]
    assert len(rows) == 9 + len(TROUBLES)
    for row in rows:
        assert float(row[-3]) == pytest.approx(1, abs=TOLERANCE), row
    assert sum(int(row[-1].rstrip(" |")) for row in rows) > 100, "hardly any piece was lost and repeated"


def test_every_figure_is_measured_or_called_an_assumption():
    for name, figure in FIGURES.items():
        assert figure.source.startswith(("measured: ", "**assumption**: ")), name


def test_no_plan_is_quicker_than_its_work():
    of = defaults()
    for terabytes in SIZES:
        path = stages(terabytes, of)
        for nodes in (1, 8, 1000):
            took = whole(terabytes, nodes, of) * 3600
            assert took >= sum(stage.nodes for stage in path) / nodes / of["cores"]
            assert took >= sum(stage.driver + stage.after for stage in path)
        assert path[0].read == terabytes * 1e12


def seconds(*arguments, **more):
    return simulate(*arguments, **more).hours * 3600


def test_pieces_take_turns_on_the_cores_and_results_on_the_starting_process():
    assert seconds(4, 10, 1, 2, 0) == pytest.approx(20)
    assert seconds(5, 10, 1, 2, 0) == pytest.approx(30)
    assert seconds(4, 10, 1, 2, 1) == pytest.approx(22)  # two results from 10 on, two from 20 on
    assert seconds(4, 10, 2, 2, 20) == pytest.approx(90)  # 10, then four results of 20


def test_a_slow_node_holds_up_the_window():
    # The fast core could do the other seven in 7 s. It may not go further than the window, and the slow one gets two.
    assert AHEAD == 2
    assert seconds(8, 1, 2, 1, 0, trouble=Trouble(slow_share=0.5, slowness=10)) == pytest.approx(20)


def test_pieces_of_a_dead_node_run_again_and_are_lost_after_the_fourth_time():
    found = simulate(200, 360, 4, 2, 0, Trouble(hours_between_deaths=2, hours_away=0.1))
    assert found.deaths > 4 and found.repeated > 4
    assert found.hours > simulate(200, 360, 4, 2, 0).hours == pytest.approx(2.5)
    with pytest.raises(PieceLostError):
        simulate(200, 3600, 4, 2, 0, Trouble(hours_between_deaths=0.2, hours_away=0.1))


def test_the_same_seed_gives_the_same_course():
    trouble = Trouble(0.2, 0.25, 3, 2, 0.1)
    one, same, other = (simulate(300, 360, 4, 2, 1, trouble, seed) for seed in (1, 1, 2))
    assert one == same != other
