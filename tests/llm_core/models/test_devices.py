"""Nothing computes on a device where the network is not: tensors are made on a named one, and passes stay on it.

A build of PyTorch for CPUs has no second device, but its fake tensors have: they carry shapes and devices, compute
nothing, and refuse to mix two devices as a GPU would. Of the names of devices that such a build knows, `lazy` is one
that it lets a fake tensor have and indexes (it refuses to index one of `xpu` or `cuda`).
"""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers.initialization import no_init_weights

from llm_core.models.family import families
from llm_core.models.generation import Decoding, generate
from llm_core.models.language_model import LanguageModel
from llm_core.models.loading import LoadedModel
from llm_core.models.networks import build_config, build_network
from llm_core.params.model import Model
from llm_core.retrieval.encoders import Encoder
from llm_core.training.pretraining.batches import Batch
from llm_core.training.pretraining.objectives import Corruption
from tests.llm_core.models.test_scale import VOCABULARY
from tests.llm_core.training.finetuning import tiny

ROOT = Path(__file__).parents[3] / "llm_core"
ROOMS = ("models", "evaluation", "retrieval", "training/pretraining", "training/finetuning", "serving")
DEVICE = torch.device("lazy", 0)
FACTORIES = {
    "arange", "as_tensor", "empty", "eye", "from_numpy", "full", "linspace", "normal", "ones", "rand", "randint",
    "randn", "randperm", "tensor", "zeros",
}  # fmt: skip
MADE = "a weight is made where the builder of its network says, which may be nowhere (meta) or a part (ZeRO-3)"
ALLOWED = {
    ("models/speedrun.py", "torch.ones(config.num_hidden_layers)"): MADE,
    ("models/speedrun.py", "torch.zeros(config.num_hidden_layers)"): MADE,
    ("models/speedrun.py", "torch.zeros(1)"): MADE,
    ("retrieval/search.py", "torch.from_numpy(vectors[at:at + BLOCK])"): "widened on the CPU for a product of NumPy",
}


def made_without_device(source: str) -> list[str]:
    """The calls of tensor factories in `source` that name no device; `torch.from_numpy(x).to(device)` names one."""
    tree, found = ast.parse(source), []
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FACTORIES):
            continue
        if ast.unparse(node.func.value) != "torch" or any(word.arg == "device" for word in node.keywords):
            continue
        parent = parents[node]
        if not (isinstance(parent, ast.Attribute) and parent.attr == "to"):
            found.append(ast.unparse(node))
    return found


def test_every_tensor_is_made_on_a_named_device() -> None:
    found = {
        (str(file.relative_to(ROOT)), call)
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for call in made_without_device(file.read_text())
    }
    assert found == set(ALLOWED)
    assert made_without_device("torch.zeros(2)\ntorch.zeros(2, device=d)\ntorch.from_numpy(a).to(d)") == [
        "torch.zeros(2)"
    ]


def moved(network: Any) -> Any:
    """`network` with its weights on the fake device; `.to` cannot swap them there. Weights that are tied stay so."""
    made: dict[int, Any] = {}
    for module in network.modules():
        for held in (module._parameters, module._buffers):
            for name, value in held.items():
                if value is None:
                    continue
                if id(value) not in made:
                    there = value.detach().to(DEVICE)
                    made[id(value)] = (value, torch.nn.Parameter(there, False) if held is module._parameters else there)
                held[name] = made[id(value)][1]
    return network.eval()


def fake_network(name: str) -> Any:
    """A network of the family whose weights are on the fake device; to be called inside a FakeTensorMode."""
    config = build_config(Model(family=name, layers=1, width=32, heads=2, feed_forward=64), VOCABULARY, 16)
    with no_init_weights():  # ModernBERT's draws read values, which fake tensors do not have
        return moved(build_network(config, "sdpa", 0))


@pytest.mark.parametrize("name", sorted(families()))
@pytest.mark.parametrize("apart", [False, True])
def test_the_loss_of_each_family_stays_on_its_device(name: str, apart: bool) -> None:
    family = families()[name]
    if apart and not family.separates_documents:
        pytest.skip("takes no mask between documents")
    ids = np.arange(24).reshape(2, 12) % 32 + 3
    batch = Batch(ids, ids, np.broadcast_to(np.arange(12), ids.shape).copy(), np.ones_like(ids))
    marks = tuple(range(40, 60))
    made = Corruption(family.objective, 1, 0.2, 3.0, 2, 40, marks)(batch, 0, 0)
    with FakeTensorMode(allow_non_fake_inputs=False), torch.no_grad():
        module = LanguageModel(fake_network(name), 16, document_mask=apart)
        inputs = [None if part is None else torch.zeros(part.shape, dtype=torch.long, device=DEVICE) for part in made]
        assert module(*inputs, per_token=True).device.type == DEVICE.type
        mixed = [None if part is None else part.cpu() for part in inputs]
        with pytest.raises(RuntimeError, match="device"):
            module(*mixed, per_token=True)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "lstm"])
def test_what_generation_gives_the_network_is_on_its_device(name: str) -> None:
    given: list[torch.Tensor] = []

    def generate_one(input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        """Stands in for the loop of transformers, which reads values before its first pass: one pass."""
        given.extend(tensor for tensor in (input_ids, attention_mask) if tensor is not None)
        more = {"decoder_input_ids": input_ids} if name == "t5" else {}
        logits = network(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        return torch.cat([input_ids, logits[:, -1:].argmax(-1)], 1)

    tokenizer = tiny.tokenizer()
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = fake_network(name)
        network.generate = generate_one
        model = LoadedModel.of(network, tokenizer)
        with pytest.raises(DataDependentOutputException):  # the new tokens are read back, and a fake has no values
            generate(model, [[5, 6, 7], [8, 9, 10]], Decoding(3))
    assert given and {tensor.device for tensor in given} == {DEVICE}


def test_an_encoder_computes_on_its_device(tmp_path: Path) -> None:
    encoder = Encoder(str(tiny.model("bert", tmp_path / "bert")))
    with FakeTensorMode(allow_non_fake_inputs=True):
        encoder._model = moved(encoder._model)
        encoder._device = DEVICE
        with pytest.raises((RuntimeError, DataDependentOutputException), match=r"numpy|FakeTensor|data"):
            list(encoder.batches(["one text", "another one"]))
