"""A model family is one file that describes itself, also from another distribution."""

import math
import os
import subprocess
from pathlib import Path

import pytest
import torch

from llm_core.models.family import families, family_of, kind_of
from llm_core.models.language_model import LanguageModel
from llm_core.models.loading import context_of
from llm_core.models.networks import build_config, build_network
from llm_core.params.model import Model
from tests.llm_core.models.test_scale import VOCABULARY
from tests.llm_core.training.pretraining import tiny
from tests.warm import start

TOY = '''
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from llm_core.models.family import Family


class AverageConfig(PreTrainedConfig):
    model_type = "toy_average"

    def __init__(self, vocab_size=8, hidden_size=8, **rest):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**rest)


class Average(PreTrainedModel):
    """Predicts the next token from the mean of the tokens so far."""

    config_class = AverageConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.out = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.table

    def get_output_embeddings(self):
        return self.out

    def states(self, input_ids):
        count = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
        return self.table(input_ids).cumsum(1) / count[:, None]

    def forward(self, input_ids, **_):
        return CausalLMOutput(logits=self.out(self.states(input_ids)))


AutoConfig.register("toy_average", AverageConfig)
AutoModelForCausalLM.register(AverageConfig, Average)


def config(model, sizes, positions, common):
    return AverageConfig(hidden_size=sizes.width, **common | {"tie_word_embeddings": False})


def blanked(settings, rows, generators):
    """An objective of its own: a share of the tokens is blank, and the next token is predicted all the same."""
    from llm_core.training.pretraining.objectives import Inputs

    inputs = rows.input_ids.copy()
    for row, generator in enumerate(generators):
        inputs[row, generator.random(inputs.shape[1]) < settings.share] = settings.marks[-1]
    assert (inputs != rows.input_ids).any()
    return Inputs(inputs, rows.targets, rows.position_ids, rows.segment_ids)


FAMILY = Family(
    config=config, model_types=("toy_average",), attends=False, separates_documents=False,
    hidden_states=lambda network, inputs: network.states(inputs["input_ids"]),
    training_inputs=blanked, own_tokens=("<|blank|>",),
)
'''


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds a distribution with one family: one file, and its entry point."""
    site = tmp_path / "site"
    info = site / "toy_family-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toy_family.py").write_text(TOY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-family\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[llm_core.model_families]\naverage = toy_family\n")
    environment = tiny.environment()
    paths = [str(site), str(Path(__file__).parents[3]), environment.get("PYTHONPATH", "")]
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def test_a_family_from_outside_is_one_file(toy: dict[str, str], tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "run")
    command = tiny.command(folder, model__family="average", pretraining__steps=2, pretraining__document_mask=False)
    done = subprocess.run([start.python(), *command[1:]], cwd=folder, env=toy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(tiny.losses(folder)) == 2
    assert "<|blank|>" in (folder / "out/tokenizer.json").read_text(), "the token of its own objective"
    again = """
import torch
from llm_core.models.loading import load
model = load("out", device="cpu")
print(type(model.network).__name__, model.kind, model.network(torch.arange(6)[None]).logits.shape[1])
"""
    done = subprocess.run(start.script(), input=again, cwd=folder, env=toy, capture_output=True, text=True)
    assert done.stdout.split() == ["Average", "decoder", "6"], done.stderr[-3000:]


def test_a_family_that_is_not_there_is_refused_with_the_names(toy: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("model: {family: lama}\n")
    command = [start.python(), "-m", "llm_core.cli", "params"]
    done = subprocess.run(command, cwd=tmp_path, env=toy, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "no model family 'lama' (there are bert, bloom, gemma3, gpt2, gptj, llama, lstm, modernbert, olmo2, olmo3, "
        "opt, phi, phi3, qwen3, rnn, roberta, smollm3, speedrun, t5, transformer, average)" in done.stderr
    )


def test_capped_logits_are_those_that_the_loss_is_computed_from() -> None:
    ids = torch.arange(32, device="cpu").view(2, 16) + 3
    found = []
    for cap in (None, 0.01):
        settings = Model(family="gemma3", layers=1, width=32, heads=2, feed_forward=64, logit_softcap=cap)
        network = build_network(build_config(settings, VOCABULARY, 16), "auto", 0).eval()
        ours = LanguageModel(network, 8)(ids, ids, ids, torch.ones_like(ids))[0] / 32
        theirs = torch.nn.functional.cross_entropy(network(ids).logits.flatten(0, 1), ids.flatten())
        assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
        found.append(float(ours))
    assert found[1] == pytest.approx(math.log(VOCABULARY.size), abs=0.02) != pytest.approx(found[0], abs=0.02)


def test_positions_behind_the_padding_token_are_not_counted_twice() -> None:
    config = build_config(Model(family="roberta", layers=1, width=32, heads=2), VOCABULARY, 16)
    assert (config.max_position_embeddings, context_of(config)) == (16 + VOCABULARY.pad + 1, 16)
    network = build_network(config, "auto", 0)
    assert network(torch.full((1, 16), 5, device="cpu")).logits.shape[1] == 16
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        network(torch.full((1, 17), 5, device="cpu"))


@pytest.mark.parametrize("name", sorted(families()))
def test_every_family_describes_what_it_builds(name: str) -> None:
    one = families()[name]
    config = build_config(Model(family=name, layers=1, width=32, heads=2, feed_forward=64), VOCABULARY, 16)
    assert config.model_type in one.model_types and family_of(config) is one
    assert kind_of(config) == one.kind
    network = build_network(config, "auto", 0)
    assert isinstance(network, one.network(config)) and network.get_output_embeddings() is not None
