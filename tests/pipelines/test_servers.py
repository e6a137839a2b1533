"""`make ui` for real: webserver, daemon and MLflow over a toy project; sensor, schedule, queue, cancel, crash."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipelines.dvc_project import DvcProject
from tests.pipelines import toy_project as toy
from tests.pipelines.live import LOCATION, Live, serve
from tests.waiting import wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live(reproduced_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live") / "project"
    shutil.copytree(reproduced_once, folder, symlinks=True)
    with serve(folder, PIPELINE_CRON="* * * * *") as servers:
        yield servers
    wait(lambda: not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(folder)], 180, "processes to end")


def sleeping(folder: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cwd", "name"]) if p.info["cwd"] == str(folder) and p.name() == "sleep"]


def test_sensor_tick_mirrors_the_shell_run(live: Live) -> None:
    wait(lambda: set(live.statuses().values()) == {"FRESH"}, what="the sensor's first tick")


def test_edit_reloads_and_shows_stale(live: Live) -> None:
    toy.edit(live.project, "params.yaml", "min_length: 2", "min_length: 3")
    stale = {"long@a", "long@b"}
    wait(lambda: {s for s, status in live.statuses().items() if status == "STALE"} == stale, what="a reload")
    toy.repro(live.project)
    wait(lambda: set(live.statuses().values()) == {"FRESH"}, what="the mirrored run")


def test_no_op_asset(live: Live) -> None:
    run = live.launch("long@a")
    wait(lambda: live.run(run)["status"] == "SUCCESS", what="a no-op")
    figures = live.run(run)
    print(f"no-op asset: {figures['endTime'] - figures['startTime']:.2f} s")


def test_cancel_and_queue(live: Live) -> None:
    toy.edit(live.project, "params.yaml", "steps: 0", "steps: 1000")
    first = live.launch("slow")
    wait(lambda: any("step 2" in line for line in live.log(first)), what="the log to stream")
    assert sleeping(live.project)
    second = live.launch("long@b")
    time.sleep(6)
    assert live.run(second)["status"] == "QUEUED", "one run at a time in a working copy"
    assert any(line.startswith(f"queued behind {first[:8]}: at most 1") for line in live.log(second))
    assert not any(line.startswith("queued behind") for line in live.log(first))
    asked = time.monotonic()
    live.cancel(first)
    wait(lambda: live.run(first)["status"] == "CANCELED", what="the cancel")
    assert not sleeping(live.project), "nothing is left of the cancelled stage"
    assert [line for line in live.log(first) if re.match(r"cancelled; every process(.*\n)+step \d", line)]
    print(f"cancel: {time.monotonic() - asked:.2f} s")
    wait(lambda: live.run(second)["status"] == "SUCCESS", what="the queued run")
    with DvcProject(live.project) as project:
        assert len(project.lock) == 7 and not project.spoiled_outputs("long@b")


def test_runs_that_wait_or_start_are_cancelled_at_once(live: Live) -> None:
    starting = live.launch("slow")
    queued = live.launch("long@b")
    wait(lambda: live.run(starting)["status"] == "STARTING", what="the launch")
    for run in (queued, starting):
        live.cancel(run)
        assert live.run(run)["status"] == "CANCELED"
    again = live.launch("long@b")
    wait(lambda: live.run(again)["status"] == "SUCCESS", what="the next run")
    assert not sleeping(live.project), "the worker that was starting has executed nothing"
    assert live.run(starting)["status"] == "CANCELED"


def test_killed_worker_is_marked_and_the_stage_resumes(live: Live) -> None:
    run = live.launch("slow")
    wait(lambda: any("step 1" in line for line in live.log(run)), what="the run")
    worker = worker_of(live.project)
    worker.kill()
    wait(lambda: not sleeping(live.project), 180, "the guard to end the stage")
    wait(lambda: live.run(run)["status"] == "FAILURE", what="the monitor to notice")
    toy.edit(live.project, "params.yaml", "steps: 1000", "steps: 1")
    again = live.launch("slow")
    wait(lambda: live.run(again)["status"] == "SUCCESS", what="the next run")


@pytest.mark.long
def test_a_training_outlives_every_server(live: Live) -> None:
    """SIGKILL to webserver, daemon, MLflow and the process with the definitions in mid-training: all come back."""
    params = live.project / "params.yaml"
    params.write_text(re.sub(r"steps: \d+", "steps: 40", params.read_text()))
    run = live.launch("slow")
    wait(lambda: any("step 1" in line for line in live.log(run)), what="the run")
    worker = worker_of(live.project)
    servers = [p for p in psutil.Process(live.process.pid).children(recursive=True) if is_server(p)]
    assert len(servers) >= 4
    for process in servers:
        process.kill()

    def asked() -> str | None:
        with suppress(OSError, AssertionError, KeyError, TypeError):
            return live.launch("slow")
        return None

    again = wait(asked, what="the webserver to take a run")
    assert worker.is_running(), "the servers were back before the training ended"
    wait(lambda: live.run(again)["status"] == "SUCCESS", what="the next run")
    assert live.run(run)["status"] == "SUCCESS"
    assert live.run(again)["startTime"] >= live.run(run)["endTime"], "one run at a time"
    toy.edit(live.project, "params.yaml", "steps: 40", "steps: 1")
    toy.repro(live.project)


def is_server(process: psutil.Process) -> bool:
    """Whether a process is one of MLflow's, or of Dagster's but the code server's proxy, which Dagster starts again."""
    return bool({"dagster_webserver", "dagster._daemon", "grpc", "mlflow"} & {*process.cmdline()})


def worker_of(folder: Path) -> psutil.Process:
    """The Dagster process above the running stage."""
    parents = sleeping(folder)[0].parents()
    return next(p for p in parents if not any("dvc" in part or "stage.py" in part for part in p.cmdline()))


def test_schedule_tick_runs_the_graph(live: Live) -> None:
    selector = {**LOCATION, "scheduleName": "weekly"}
    live.query("mutation($s: ScheduleSelector!){startSchedule(scheduleSelector: $s){__typename}}", s=selector)
    wait(
        lambda: any(run["status"] == "SUCCESS" for run in live.runs("dagster/schedule_name", "weekly")),
        what="a scheduled run",
    )
    live.query("mutation($s: ScheduleSelector!){resetSchedule(scheduleSelector: $s){__typename}}", s=selector)


def test_sensor_tick_rebuilds_what_an_edit_made_stale(live: Live) -> None:
    words = live.project / "data/report/documents/words.txt"
    assert len(words.read_text().split()) == 2, "a10 and a11 alone have three letters"
    live.start_sensor("rebuild_stale")
    toy.edit(live.project, "params.yaml", "min_length: 3", "min_length: 2")
    wait(lambda: nothing_stale(live.project), 600, "the daemon to rebuild what is stale")
    assert len(words.read_text().split()) == 17, "all words are back, down to the last stage"
    wait(
        lambda: "SUCCESS" in [run["status"] for run in live.runs("dagster/sensor_name", "rebuild_stale")],
        what="the end of the sensor's own run",
    )


def nothing_stale(folder: Path) -> bool:
    """Whether `dvc repro` would run nothing; a stage that is just running is not fresh."""
    with suppress(OSError), DvcProject(folder) as project:  # a running stage takes its old outputs away
        return all(project.fresh(name) for name in project.stages)
    return False


def test_crash_of_all_servers_loses_nothing(reproduced: Path) -> None:
    """SIGKILL to `make ui`, all servers and the worker in mid-run, as when the machine dies; then started again."""
    toy.edit(reproduced, "params.yaml", "steps: 0", "steps: 1000")
    with serve(reproduced) as live:
        run = live.launch("slow")
        queued = live.launch("long@b")
        wait(lambda: any("step 1" in line for line in live.log(run)), what="the run")
        for process in [live.process, *psutil.Process(live.process.pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # its parent's death may have ended it
                process.kill()
        wait(lambda: not sleeping(reproduced), what="the guard to end the stage")
    with DvcProject(reproduced) as project:
        assert len(project.lock) == 7 and not project.spoiled_outputs("report"), "dvc.lock and outputs are whole"
    toy.edit(reproduced, "params.yaml", "steps: 1000", "steps: 1")
    with serve(reproduced) as live:
        wait(lambda: live.run(run)["status"] == "FAILURE", what="the monitor to mark the dead run")
        assert any("the run's worker (process" in line for line in live.log(run))
        again = live.launch("slow")
        wait(lambda: live.run(queued)["status"] == "SUCCESS", what="the queued run, which goes on by itself")
        wait(lambda: live.run(again)["status"] == "SUCCESS", what="the next run")
    assert nothing_stale(reproduced)


def test_the_process_list_does_not_show_the_address_of_the_store(live: Live) -> None:
    servers = [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(live.project)]
    assert servers
    assert not [line for server in servers for line in server.cmdline() if "mlflow.db" in line]
    assert (live.project / "mlflow.db").exists(), "the store of the project is the one that the server has opened"
