"""Merged models: numbers that can be checked by hand, refusals by name, and the record of the parents."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llm_core.cli import main
from llm_core.errors import UserError
from llm_core.lineage.training import chain
from llm_core.models import merging
from llm_core.models.loading import load
from llm_core.models.weight_files import SINGLE, WeightFiles, WeightWriter, write_index
from llm_core.runtime.digests import content_digest
from tests.llm_core import tiny_gpt2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models: the first, the first with every weight doubled, and with 3 added to every weight."""
    root = tmp_path_factory.mktemp("models")
    first = tiny_gpt2.make(root / "one")
    weights = load_file(first / SINGLE)
    for name, change in (("two", lambda x: x * 2), ("three", lambda x: x + 3)):
        shutil.copytree(first, root / name)
        save_file({key: change(value) for key, value in weights.items()}, root / name / SINGLE, {"format": "pt"})
    return [first, root / "two", root / "three"]


def test_the_mean_is_that_of_the_weights_and_every_parent_is_named(models: list[Path], tmp_path: Path) -> None:
    arguments = ["merge", *map(str, models[:2]), "--weight", "3", "--weight", "1", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"^0$"):
        main(arguments)
    before, after = load_file(models[0] / SINGLE), load_file(tmp_path / "out" / SINGLE)
    for name, value in before.items():  # (3 x + 2 x) / 4
        assert torch.equal(after[name], (value.double() * 1.25).float())
    assert load(tmp_path / "out").network.num_parameters() == sum(v.numel() for v in before.values())
    merged = json.loads((tmp_path / "out" / "metrics.json").read_text())["merged"]
    assert [(one["weight"], one["digest"]) for one in merged["models"]] == [
        (0.75, content_digest(models[0])), (0.25, content_digest(models[1]))
    ]  # fmt: skip
    assert chain(tmp_path / "out", verify=True) == [tmp_path / "out", *models[:2]]


def test_a_merge_of_one_model_with_itself_has_its_bytes(models: list[Path], tmp_path: Path) -> None:
    merging.merge([models[0]] * 3, [1, 1, 1], tmp_path / "out")
    assert (tmp_path / "out" / SINGLE).read_bytes() == (models[0] / SINGLE).read_bytes()


def test_ties_drops_what_models_disagree_on(models: list[Path], tmp_path: Path) -> None:
    base = load_file(models[0] / SINGLE)
    name = "transformer.wpe.weight"
    changes = ([1.0, 2.0, -3.0, 0.1], [3.0, -1.0, -1.0, 0.0])  # signs agree in the first and third; the fourth is small
    for number, change in enumerate(changes):
        shutil.copytree(models[0], tmp_path / str(number))
        weights = {key: value.clone() for key, value in base.items()}
        weights[name].view(-1)[:4] += torch.tensor(change)
        weights["transformer.ln_f.bias"][0] += 1.0  # the density leaves less than one of this vector
        save_file(weights, tmp_path / str(number) / SINGLE, {"format": "pt"})
    numel = base[name].numel()
    folders = [tmp_path / "0", tmp_path / "1"]
    merging.merge(folders, [1, 1], tmp_path / "out", "ties", models[0], density=3.5 / numel)  # keeps three of them
    difference = (load_file(tmp_path / "out" / SINGLE)[name] - base[name]).view(-1)[:5]
    assert difference.tolist() == pytest.approx([2.0, 2.0, -2.0, 0.0, 0.0], abs=1e-5)
    small = load_file(tmp_path / "out" / SINGLE)["transformer.ln_f.bias"] - base["transformer.ln_f.bias"]
    assert small[:2].tolist() == pytest.approx([1.0, 0.0])


def test_models_that_do_not_fit_are_refused_by_name(models: list[Path], tmp_path: Path) -> None:
    wider, other = tmp_path / "wider", tmp_path / "other"
    for folder in (wider, other):
        shutil.copytree(models[0], folder)
    config = json.loads((wider / "config.json").read_text())
    (wider / "config.json").write_text(json.dumps(config | {"n_head": 4, "transformers_version": "5"}))
    with pytest.raises(UserError, match=r"differ in architecture and cannot be merged: n_head 2 and 4$"):
        merging.merge([models[0], wider], [1, 1], tmp_path / "out")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=r"different tokenizers \(they differ in: model\)"):
        merging.merge([models[0], other], [1, 1], tmp_path / "out")
    with pytest.raises(UserError, match="the run has kept 0 snapshots beside the finished model"):
        merging.last_of_run(models[0], 2)
    with pytest.raises(UserError, match="--merge-method ties needs --base"):
        merging.merge(models, [1, 1, 1], tmp_path / "out", "ties")
    for weights in ([math.inf, 1, 1], [math.nan, 1, 1], [1e308, 1e308, 1], [1, -1, 0]):
        with pytest.raises(UserError, match="have no positive, finite sum"):
            merging.merge(models, weights, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_decay_of_none_is_refused(models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^1$"):
        main(["merge", *map(str, models[:2]), "--ema", "0", "--out", str(tmp_path / "out")])
    assert "--ema 0.0: write a decay above 0" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_an_average_that_decays_weighs_the_last_most() -> None:
    assert merging.decaying(3, 0.5) == [0.25, 0.5, 1.0]


def test_the_writer_has_the_bytes_of_save_pretrained_in_several_files(models: list[Path], tmp_path: Path) -> None:
    network = load(models[0]).network
    network.save_pretrained(tmp_path / "theirs", max_shard_size=30_000)
    (tmp_path / "ours").mkdir()
    with WeightFiles(tmp_path / "theirs") as files:
        kinds = files.kinds()
        assert len(files.layout) > 2
        for file, names in files.layout.items():
            with WeightWriter(tmp_path / "ours" / file, {name: kinds[name] for name in names}) as writer:
                for name in names:
                    writer.add(name, files.tensor(name))
        write_index(tmp_path / "ours", files.layout, kinds)
    for file in sorted((tmp_path / "ours").iterdir()):
        assert file.read_bytes() == (tmp_path / "theirs" / file.name).read_bytes(), file.name


def test_the_writer_orders_types_as_safetensors_does(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(3, dtype=torch.float16), "a": torch.arange(4), "é": torch.rand(2, 3), "c": torch.ones(0)}
    save_file(tensors, tmp_path / SINGLE, {"format": "pt"})
    with WeightFiles(tmp_path) as files:
        kinds = files.kinds()
        with WeightWriter(tmp_path / "again", kinds) as writer:
            for name in kinds:
                writer.add(name, files.tensor(name))
    assert (tmp_path / "again").read_bytes() == (tmp_path / SINGLE).read_bytes()
    with pytest.raises(ValueError, match="1 tensors lack"), WeightWriter(tmp_path / "again", {"a": kinds["a"]}):
        pass
