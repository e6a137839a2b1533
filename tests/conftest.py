"""For all tests: shared compiled kernels and warm servers, one thread, short garbage collections, an order."""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.warm import start, store

# Before anything imports numba. A copy of the project in a temporary folder would compile every kernel anew.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache/kernels"))
# No __pycache__ in a test's project: where its .dvcignore does not name it, DVC would take it for changed code.
BYTECODE = str(Path(__file__).parents[1] / ".pytest_cache/bytecode")
COMPILES = not Path(BYTECODE).exists()  # so that every process of this session would
if "PYTHONDONTWRITEBYTECODE" not in os.environ:
    sys.pycache_prefix = os.environ.setdefault("PYTHONPYCACHEPREFIX", BYTECODE)
# Before anything imports numpy. In small problems a second thread of a BLAS only waits, and takes CPU time for that.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Else every `dvc` of a project that a test makes starts a second one, which sends statistics over the network.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
# A test's time says how busy the machine is and whether it compiles a kernel; examples may share a fixture's folder.
settings.register_profile(
    "shared machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("shared machine")
STORE = os.environ.get("MLFLOW_TRACKING_URI")
LONGEST = (
    "test_graph.py", "pipelines/test_servers.py", "llm_core/runtime/test_two_nodes.py", "test_docs.py",
    "test_journey.py", "pipelines/test_browser.py", "llm_core/training/pretraining/test_zero.py",
    "llm_core/cli/test_hostile.py", "test_stage_truth.py", "llm_core/training/finetuning/test_behaviour.py",
    "llm_core/training/pretraining/test_resume.py", "llm_core/evaluation/test_hub.py", "pipelines/test_backfill.py",
    "pipelines/test_launcher.py", "pipelines/test_staleness.py", "llm_core/evaluation/test_harness.py",
    "llm_core/corpus/cleaning/test_kept_pieces.py", "llm_core/evaluation/test_journal.py",
    "llm_core/training/pretraining/test_open_parents.py", "llm_core/training/finetuning/test_methods.py",
    "llm_core/training/finetuning/test_zero.py", "llm_core/serving/test_server.py", "pipelines/test_launchpad.py",
    "pipelines/test_experiments.py", "pipelines/test_teams.py", "test_object_storage_graph.py",
)  # fmt: skip
"""Modules whose slow tests take long, those that wait for servers between those that compute.

A process that begins one of them last works alone at the end.
"""
NEW_MODULES = 50
frozen = 0  # how many modules were imported when they were last exempted


def pytest_sessionstart(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        forget_bytecode(Path(BYTECODE))
        if session.config.getoption("numprocesses", None):
            start.share(imported=COMPILES and session.config.option.markexpr != "not slow")


def forget_bytecode(of: Path) -> None:
    """Remove what earlier sessions compiled of projects in their temporary folders, which no session uses again."""
    for folder in Path(f"{of}{Path(tempfile.gettempdir()).resolve()}").glob("pytest-of-*"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Exempt from garbage collection what imports have made, and copy stores of MLflow once it is imported.

    After torch and transformers are imported, a full collection takes 0.5 s. A training calls three, which were two
    thirds of the CPU time of a training of a tiny model.
    """
    global frozen
    if "mlflow.store.tracking.sqlalchemy_store" in sys.modules:
        store.quicken()
    if len(sys.modules) >= frozen + NEW_MODULES:
        gc.collect()
        gc.freeze()
        frozen = len(sys.modules)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Take back, for the rest of the process, the address of a store that MLflow has written into the environment, and
    the storage for outputs that the params of a test's project named."""
    storage = sys.modules.get("llm_core.runtime.object_storage")
    if storage and storage._chosen.address:
        storage.use(storage.StorageLaunch())
    if STORE is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = STORE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules of fast tests alone, then those that have slow ones, of these the longest first.

    `--no-loadscope-reorder` keeps pytest-xdist from ordering by number of tests.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (item.path in slow, places.get(item.path, len(places))))


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where several processes run tests, say at once why one has failed, not only at the end of the session."""
    if report.failed and hasattr(report, "node"):
        print(f"\n{report.nodeid} failed in its {report.when}\n{report.longreprtext}", file=sys.stderr, flush=True)


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # else libraries report at exit what was not collected
