"""An open model becomes a folder of the project: whole, pinned, without pickles and without its code."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_core.errors import UserError
from llm_core.models.loading import load
from llm_core.models.open_models import fetch_model
from llm_core.params import Params, validate
from llm_core.params.external import external_inputs
from llm_core.params.open_models import OpenModel
from tests.llm_core.corpus.sources.loopback import Loopback, hub_environment, serve_hub
from tests.llm_core.open_model_folders import TOKENIZERS, make
from tests.warm import start


def model(place: Any, **fields: Any) -> OpenModel:
    return OpenModel.model_validate({"from": str(place), **fields})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make("llama", tmp_path / "source")


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_local_folder_is_taken_with_card_and_licence(kind: str, tmp_path: Path) -> None:
    source = make(kind, tmp_path / "source")
    (source / "run.py").write_text("print('code')")
    (source / "training_args.bin").write_bytes(b"pickle")
    record = fetch_model("mine", model(source), tmp_path / "out")
    assert record["license"] == "apache-2.0" and record["parameters"] > 1000
    taken = {file.name for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")}
    assert taken == {file.name for file in source.iterdir()} - {"run.py", "training_args.bin"} | {"open_model.json"}
    for name in record["files"]:
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
        assert (tmp_path / "out" / name).stat().st_ino != (source / name).stat().st_ino
    assert json.loads((tmp_path / "out" / "open_model.json").read_text()) == record
    if kind not in ("bert", "t5"):
        load(tmp_path / "out", kinds=("decoder",))


def test_pickles_are_refused_with_the_way_to_convert_them(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pickled \(pytorch_model.bin\).*convert them once"):
        fetch_model("mine", model(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_architecture_that_only_the_folders_code_has_is_refused(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": "invented", "auto_map": {"AutoConfig": "configuration.Config"}}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no architecture 'invented', and its own code is never run"):
        fetch_model("mine", model(source), tmp_path / "out")


def test_a_broken_copy_is_refused(source: Path, tmp_path: Path) -> None:
    content = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"model.safetensors: cannot be read"):
        fetch_model("mine", model(source), tmp_path / "out")


def test_a_shard_that_is_missing_is_named(source: Path, tmp_path: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"names model-00002-of-00002.safetensors, which is not there"):
        fetch_model("mine", model(source), tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"from": "some/model"}, "pin `revision` to a commit of some/model"),
        ({"from": "./nowhere"}, "no such folder ./nowhere"),
        ({"from": "a/b/c"}, "no such folder a/b/c"),
    ],
)
def test_what_cannot_be_found_is_explained(
    fields: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=told):
        fetch_model("mine", OpenModel.model_validate(fields), tmp_path / "out")


def test_a_revision_of_a_local_folder_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="revision is for a model of the hub"):
        fetch_model("mine", model(source, revision="a" * 40), tmp_path / "out")


def test_names_must_be_folders_and_not_those_of_the_pipelines_models() -> None:
    for name, told in (("base", "that of the pretrained model"), ("a/b", "cannot name a folder")):
        with pytest.raises(UserError, match=told):
            validate({"open_models": {name: {"from": "x"}}}, "params.yaml")


def test_the_content_of_a_local_model_is_an_input(source: Path) -> None:
    opened = {"mine": {"from": str(source)}, "hub": {"from": "some/model", "revision": "a" * 40}}
    params = Params.model_validate({"open_models": opened})
    found = external_inputs(params)
    assert found["open_models/mine"] == [str(source)] and found["open_models/hub"] == []
    for name, named in (("mine", str(source)), ("hub", f"some/model@{'a' * 40}")):
        continued = {"pretraining": {"parent": f"data/models/{name}"}, "tokenizer": {"from": f"data/models/{name}"}}
        assert external_inputs(Params.model_validate({"open_models": opened, **continued}))["pretraining"] == [named]


COMMIT = "abcdef0123" * 4


@pytest.fixture
def hub() -> Iterator[Loopback]:
    site = Loopback()
    yield site
    site.close()


def fetch(folder: Path, endpoint: str, name: str, revision: str | None) -> subprocess.CompletedProcess[str]:
    """`llm-core fetch-model`, in a process of its own, because `HF_ENDPOINT` is read once, at import."""
    opened = {"mine": {"from": name} | ({"revision": revision} if revision else {})}
    (folder / "params.yaml").write_text(yaml.safe_dump({"open_models": opened}))
    command = [start.python(), "-m", "llm_core.cli", "fetch-model", "mine", "--out", "out"]
    environment = hub_environment(endpoint, folder / "hf")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_commit_of_the_hub_is_taken_once_and_without_what_is_not_the_model(
    source: Path, tmp_path: Path, hub: Loopback
) -> None:
    files = {file.name: file.read_bytes() for file in source.iterdir()}
    more = {"run.py": b"print('code')", "pytorch_model.bin": b"pickle", "onnx/model.safetensors": b"x"}
    serve_hub(hub, "some/model", COMMIT, files | more, "models")
    done = fetch(tmp_path, hub.address, "some/model", COMMIT)
    assert done.returncode == 0, done.stderr
    assert f"from some/model at {COMMIT}, licence: apache-2.0" in done.stderr
    record = json.loads((tmp_path / "out/open_model.json").read_text())
    assert (record["from"], record["revision"]) == ("some/model", COMMIT)
    for name, data in files.items():
        assert (tmp_path / "out" / name).read_bytes() == data
    asked = {path for path, _ in hub.log}
    assert not [path for path in asked if path.endswith(tuple(more))], "neither code nor pickles are downloaded"
    load(tmp_path / "out")
    hub.files.clear()  # the hub has lost the files: those of the commit are in the cache
    assert fetch(tmp_path, hub.address, "some/model", COMMIT).returncode == 0
    hub.answers.clear()
    assert fetch(tmp_path, hub.address, "some/model", COMMIT).returncode == 0


@pytest.mark.slow
def test_what_a_hub_refuses_is_one_line(source: Path, tmp_path: Path, hub: Loopback) -> None:
    files = {file.name: file.read_bytes() for file in source.iterdir() if file.suffix != ".safetensors"}
    serve_hub(hub, "some/model", COMMIT, files | {"pytorch_model.bin": b"pickle"}, "models")
    for name, revision, told in (
        ("some/model", COMMIT, "has its weights as pickles alone (pytorch_model.bin)"),
        ("some/model", None, f"pin `revision` to a commit of some/model, because a branch changes (revision: {COMMIT}"),
        ("some/model", "f" * 40, "some/model at ffffffff: cannot be fetched"),
        ("other/model", COMMIT, "other/model at abcdef01: cannot be fetched"),
    ):
        done = fetch(tmp_path, hub.address, name, revision)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("llm-core: error")]
        assert done.returncode == 1 and told in line, done.stderr
    assert not (tmp_path / "out").exists()
