"""What reads a model computes on the device where the model is, and finds there what it finds on the CPU."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.evaluation.language_modelling import Text, score_texts
from llm_core.models import loading
from llm_core.models.generation import Decoding, generate
from llm_core.models.loading import LoadedModel, choose_device, load
from llm_core.params import Params
from llm_core.params.evaluation import LanguageModelling
from llm_core.retrieval import encoders
from llm_core.tracking.runs import Run
from llm_core.training.finetuning import models, training
from llm_core.training.finetuning.conversation import load_tokenizer
from llm_core.training.finetuning.heads import GENERATION
from llm_core.training.finetuning.registry import check_applies, method, methods
from llm_core.training.finetuning.rows import read_rows
from llm_core.training.finetuning.training import Job
from llm_core.training.finetuning.use import Classifier, Reader, Tagger
from tests.llm_core import second_device
from tests.llm_core.second_device import DEVICE, moved
from tests.llm_core.training.finetuning import tiny

FAMILY = {"token_classification": "bert", "contrastive": "bert", "translation": "t5"}  # else llama


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    second_device.start()
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # lazy tensors do not have it
    with second_device.Parts():
        yield


def same(one: Any, other: Any) -> bool:
    """Whether two figures are equal but for rounding, whatever they are made of."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-4) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def test_an_operation_that_mixes_devices_is_refused() -> None:
    there = torch.ones(2, device="cpu").to(DEVICE)
    assert (there + there).cpu().tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="not a lazy tensor"):
        there + torch.ones(2, device="cpu")


@pytest.mark.parametrize("name", sorted(methods()))
def test_each_method_scores_a_model_where_it_is(name: str, tmp_path: Path) -> None:
    base = tiny.model(FAMILY.get(name, "llama"), tmp_path / "base")
    settings = {"max_length": 64}
    for knob in ("max_new_tokens", "scored_items"):
        if knob in method(name).params.model_fields:
            settings[knob] = 3
    params = Params.model_validate({"finetuning": {"runs": {name: settings}}}).finetuning.run(name)
    rows = read_rows(tiny.rows(name, tmp_path), name)
    job = Job(name, base, check_applies(name, base), "full", rows, params, 0, tmp_path, Run(None, "", ""),
              load_tokenizer(str(base), chat=method(name).chat))  # fmt: skip
    model = job.load_base(DEVICE)
    assert {weight.device for weight in model.parameters()} == {DEVICE}
    assert same(method(name).measure(job, model), method(name).measure(job, job.load_base()))


def test_a_finetuning_measures_on_the_device_and_leaves_its_use_to_the_trainer_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "choose_device", lambda: DEVICE)
    read, places = models.load, []

    def recorded(*arguments: Any, **options: Any) -> Any:
        places.append(options.get("device"))
        return read(*arguments, **options)

    monkeypatch.setattr(models, "load", recorded)
    monkeypatch.setattr(training, "load", recorded)
    metrics = tiny.run("classification", "llama", max_steps=1)
    assert places == [DEVICE, None, None, DEVICE], "measured, trained, written, measured"
    assert metrics["before"].keys() <= metrics["after"].keys()


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_generation_and_evaluation_read_a_model_where_it_is(family: str, tmp_path: Path) -> None:
    folder = tiny.model(family, tmp_path / "model")
    here, there = load(folder, device="cpu"), load(folder, device=DEVICE)
    assert there.device == DEVICE
    for how in (Decoding(3), Decoding(2, temperature=0.8, seed=1)):
        found = [generate(model, [[5, 6, 7], [8, 9]], how) for model in (here, there)]
        assert [one.ids for one in found[0]] == [one.ids for one in found[1]]
    if here.kind == "decoder":
        texts = [Text("a", "x", "yes no spam", [0, 20, 21, 22, 1]), Text("b", "y", "ham", [0, 30, 31, 1])]
        settings = LanguageModelling(context=16, stride=8)
        one, other = (score_texts(model.network, texts, settings, 2, "test") for model in (here, there))
        assert same(one, other)


def test_an_encoder_embeds_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tiny.model("bert", tmp_path / "bert"))
    texts = ["What is the capital of Chad?", "yes no"]
    found = []
    for place in (torch.device("cpu"), DEVICE):
        monkeypatch.setattr(encoders, "choose_device", lambda place=place: place)
        monkeypatch.setattr(encoders, "multiplies_bfloat16", lambda _: False)
        encoder = encoders.Encoder(folder)
        assert {weight.device.type for weight in encoder._model.parameters()} == {place.type}
        found.append([vector for batch in encoder.batches(texts) for vector in batch[1].tolist()])
    assert same(*found)


@pytest.mark.parametrize(
    ("name", "family", "use", "given"),
    [
        ("classification", "bert", Classifier, (["Is it in Chad?", "no"],)),
        ("multiple_choice", "bert", Classifier, (["Is it?"], None, [["yes", "no"]])),
        ("token_classification", "bert", Tagger, (["Is it in Chad?"],)),
        ("question_answering", "bert", Reader, (["Which country?"], ["Is it in Chad?"])),
    ],
)
def test_what_serves_a_head_reads_it_where_it_is(
    name: str, family: str, use: Any, given: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.run(name, family, max_steps=1)
    here, there = use(Path("out"), "cpu"), use(Path("out"), str(DEVICE))
    assert there.loaded.device == DEVICE
    assert same(here(*given), there(*given))


def test_the_model_in_mlflow_reads_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from llm_core.serving.mlflow_model import Model

    context = SimpleNamespace(artifacts={"model": str(tiny.model("llama", tmp_path / "model"))})
    here, there, asked = Model(), Model(), []
    here.load_context(context)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", lambda network, place: asked.append(place) or network)
    there.load_context(context)
    assert asked == [torch.device("cuda", 0)], "on a machine with a GPU the network is moved to it"
    moved(there.loaded.network)
    knobs = {"max_new_tokens": 3}
    assert there.predict(context, ["yes no"], knobs) == here.predict(context, ["yes no"], knobs)


def test_weights_in_4_bits_are_made_where_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, maps = models.read_network, []

    def recorded(*arguments: Any, **options: Any) -> Any:
        maps.append(options.get("device_map"))
        return read(*arguments, **options)

    monkeypatch.setattr(models, "read_network", recorded)
    folder, here = tiny.model("llama", tmp_path / "model"), torch.device("cpu")
    models.load(folder, GENERATION, "decoder", four_bit=True)
    model = models.load(folder, GENERATION, "decoder", four_bit=True, device=here)
    assert maps == [{"": choose_device()}, {"": here}] and LoadedModel.of(model, None).device == here
