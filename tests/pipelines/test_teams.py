"""What a team shares: a DVC remote on S3, and Postgres under Dagster and MLflow; with real servers on loopback."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.object_store import object_store
from tests.pipelines import toy_project as toy
from tests.waiting import free_port

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with object_store() as environment:
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        yield environment["AWS_ENDPOINT_URL"]


def test_pull_on_a_clean_clone_is_the_no_op_state(reproduced: Path, endpoint: str, tmp_path: Path) -> None:
    import s3fs

    s3fs.S3FileSystem(endpoint_url=endpoint).mkdir("llm-pipeline")
    (reproduced / "experiments/side").mkdir(parents=True)
    (reproduced / "experiments/side/dvc.yaml").write_text(toy.EXPERIMENT_YAML)  # which has never run
    toy.dvc(reproduced, "remote", "add", "-d", "team", "s3://llm-pipeline/dvc")
    toy.dvc(reproduced, "remote", "modify", "team", "endpointurl", endpoint)
    toy.commit(reproduced)
    toy.dvc(reproduced, "push")
    toy.run(tmp_path, "git", "clone", "-q", str(reproduced), "clone")
    clone = tmp_path / "clone"
    assert not (clone / "data").exists()
    toy.dvc(clone, "pull", "dvc.yaml")
    assert "up to date" in toy.dvc(clone, "status", "dvc.yaml")
    assert toy.repro(clone).count("didn't change, skipping") == 7
    assert (clone / "dvc.lock").read_text() == (reproduced / "dvc.lock").read_text()


@pytest.fixture
def postgres() -> Iterator[str]:
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("no Postgres server here (apt install postgresql)")
    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()  # pytest's own are closed to other users
    as_user: list[str] = []
    if os.geteuid() == 0:  # Postgres refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*as_user, binaries[-1] / "initdb", "-D", data, "-A", "trust", "-U", "team"], **quiet)  # type: ignore[call-overload]
    options = f"-p {port} -h 127.0.0.1 -k {folder}"
    control = [*as_user, binaries[-1] / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-o", options, "-l", folder / "log", "start"], **quiet)  # type: ignore[call-overload]
    try:
        for name in ("dagster", "mlflow"):
            subprocess.run([binaries[-1] / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "team", name], **quiet)  # type: ignore[call-overload]
        yield f"postgresql+psycopg2://team@127.0.0.1:{port}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]
        shutil.rmtree(folder)


def test_dagster_and_mlflow_on_postgres(reproduced: Path, postgres: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pipelines" / "dagster-postgres.yaml", tmp_path / "dagster.yaml")
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_POSTGRES_URL": f"{postgres}/dagster",
        "MLFLOW_TRACKING_URI": f"{postgres}/mlflow",
        "PIPELINE_PROJECT": str(reproduced),
        "PYTHONPATH": str(ROOT),
    }
    code = """
import dagster as dg
from llm_core.tracking import runs as tracking
from pipelines.definitions import defs
with dg.DagsterInstance.get() as instance:
    job = defs().resolve_job_def("whole_graph")
    assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("long_a")]).success
    event = instance.get_latest_materialization_event(dg.AssetKey("long_a"))
    assert event.asset_materialization.tags["dagster/data_version"]
    print("storage", type(instance.event_log_storage).__name__)
with tracking.run("pretrain", {"steps": 3}) as run:
    run.metrics({"loss": 2.5})
import mlflow
print("loss", mlflow.MlflowClient(tracking.tracking_uri()).get_run(run.run_id).data.metrics["loss"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=reproduced, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "storage PostgresEventLogStorage" in done.stdout and "loss 2.5" in done.stdout
