"""The data half of the graph on object storage: the bytes of a local run, and nothing to run in a clean clone."""

import subprocess
from pathlib import Path

import pytest
import yaml

from llm_core.cli import main
from llm_core.formats.documents import document_id
from llm_core.runtime.manifests import MANIFEST
from llm_core.runtime.storage import glob_files, local_file
from tests.object_store import object_store
from tests.test_takedown_graph import ROOT, environment, project  # noqa: F401 - a fixture

SHARDS = ("**/*.parquet", "**/*.arrow")


def llm_core(*arguments: str) -> int:
    """A verb's exit code."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


@pytest.mark.slow
def test_from_fetch_to_tokens_on_s3_then_nothing_in_a_clean_clone(project, tmp_path, monkeypatch, capsys):  # noqa: F811
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["shards"] = {"megabytes": 0.2, "tokens": 65536}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(project)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    for verb, *arguments in (
        ["fetch", "pages", "--out", "local/raw/pages"],
        ["clean", "--in", "local/raw/pages", "--out", "local/clean/pages"],
        ["dedup", "--in", "local/clean/{source}", "--out", "local/dedup"],
        ["decontaminate", "--in", "local/dedup", "--benchmarks", "data/benchmarks", "--out", "local/decontaminated"],
        ["split", "--in", "local/decontaminated", "--out", "local/split"],
        ["train-tokenizer", "--in", "local/split/train", "--out", "local/tokenizer"],
        ["tokenize", "--in", "local/split", "--tokenizer", "local/tokenizer", "--out", "local/tokens"],
    ):
        assert llm_core(verb, *arguments) == 0
    with object_store() as access:
        for name, value in access.items():
            monkeypatch.setenv(name, value)

        def run(folder: Path, *command: str) -> str:
            done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout + done.stderr

        import s3fs

        s3fs.S3FileSystem().mkdir("lake")
        params["launch"] = {**params.get("launch", {}), "storage": {"address": "s3://lake/shards"}}
        (project / "params.yaml").write_text(yaml.safe_dump(params))
        run(project, "dvc", "repro", "tokenize")

        data, local = Path("data"), Path("local")
        assert not [file for pattern in SHARDS for file in data.glob(pattern)], "only manifests are left"
        assert len(list(data.glob(f"**/{MANIFEST}"))) == 13
        files = [file.relative_to(local) for pattern in SHARDS for file in local.glob(pattern)]
        assert len(files) > 20, len(files)
        assert sorted(files) == sorted(file.relative_to(data) for p in SHARDS for file in glob_files(data, p))
        for file in files:
            here = (local / file).read_bytes()
            if file.parts[-2] == "ledger":  # it names the files that were read
                assert len(here) == pytest.approx(local_file(data / file).stat().st_size, rel=0.05)
            else:
                assert local_file(data / file).read_bytes() == here, file

        run(project, "dvc", "remote", "add", "-d", "team", str(tmp_path / "remote"))
        run(project, "dvc", "push")
        (project / ".gitignore").write_text("/llm_core\n/local\n/.scratch\n")
        run(project, "git", "add", "-A")
        run(project, "git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "run")
        run(tmp_path, "git", "clone", "-q", str(project), "clone")
        clone = tmp_path / "clone"
        (clone / "llm_core").symlink_to(ROOT / "llm_core")
        run(clone, "dvc", "pull")
        told = run(clone, "dvc", "repro", "tokenize")
        assert told.count("Running stage") == 1  # `inputs`, which always runs
        assert told.count("didn't change, skipping") == 7
        assert (clone / "dvc.lock").read_text() == (project / "dvc.lock").read_text()
        assert not (clone / ".scratch/objects").exists(), "no shard was fetched"

        monkeypatch.chdir(clone)
        capsys.readouterr()
        assert llm_core("trace", "--id", document_id("pages", "document-5")) == 0
        assert "data/raw/pages/documents/00000-00000.parquet:5" in capsys.readouterr().out
        assert llm_core("gc", "s3://lake/shards", "--older-than", "0") == 0
        assert "0 shards, 0 bytes, are named by none" in capsys.readouterr().out
        assert llm_core("gc", "s3://lake/shards", "--keep", str(ROOT / "docs")) == 1
        assert "everything would be removed" in capsys.readouterr().err
