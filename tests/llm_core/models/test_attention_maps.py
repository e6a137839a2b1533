"""Attention of a decoder, an encoder and an encoder-decoder: transformers' own weights, in bounds, refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llm_core.errors import UserError
from llm_core.models.attention_maps import attention_maps
from tests.llm_core.open_model_folders import make

TEXT, TARGET = "The river runs to the sea.", "Iron is a metal."


def reference(folder: Path, **inputs: list[int]) -> dict[str, list[np.ndarray]]:
    """What transformers itself gives, by its own class with its plain attention."""
    import transformers

    network = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        found = network(**{name: torch.tensor([ids]) for name, ids in inputs.items()}, output_attentions=True)
    fields = [name for name in found if name.endswith("attentions")]
    return {name: [layer[0].numpy() for layer in found[name]] for name in fields}


@pytest.mark.parametrize("kind", ["gpt2", "gemma3", "bert"])
def test_weights_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = make(kind, tmp_path / kind)
    (maps,) = attention_maps(folder, TEXT).maps
    ids = AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    expected = reference(folder, input_ids=ids)["attentions"]
    assert list(maps.layers) == [1, 2] and len(maps.queries) == len(maps.keys) == len(ids)
    for weights, wanted in zip(maps.layers.values(), expected, strict=True):
        np.testing.assert_allclose(weights, wanted, atol=1e-6)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
        ahead = np.triu(weights, 1)  # what attends to tokens behind it
        assert bool(ahead.max() > 0) is (kind == "bert")
    assert maps.queries[0] == {"gpt2": "The", "gemma3": "<bos>", "bert": "[CLS]"}[kind]


def test_an_encoder_decoder_has_three_kinds(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = make("t5", tmp_path / "t5")
    found = attention_maps(folder, TEXT, TARGET)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    read, asked = tokenizer(TEXT)["input_ids"], tokenizer(TARGET, add_special_tokens=False)["input_ids"]
    expected = reference(folder, input_ids=read, decoder_input_ids=[0, *asked])
    assert found.written is None and len(found.maps) == 3
    for maps, wanted in zip(found.maps, ("encoder", "decoder", "cross"), strict=True):
        for weights, layer in zip(maps.layers.values(), expected[f"{wanted}_attentions"], strict=True):
            np.testing.assert_allclose(weights, layer, atol=1e-6)
    encoder, decoder, cross = found.maps
    assert (cross.queries, cross.keys) == (decoder.queries, encoder.keys) and not cross.on_itself
    written = attention_maps(folder, TEXT, tokens=20)
    assert written.written is not None and len(written.maps[1].queries) <= 20


def test_a_long_text_is_cut_and_counted(tmp_path: Path) -> None:
    for kind, last in (("gpt2", None), ("bert", "[SEP]")):
        folder = make(kind, tmp_path / kind)
        whole = attention_maps(folder, TEXT)
        found = attention_maps(folder, TEXT, tokens=5)
        assert len(found.maps[0].queries) == 5 and found.cut == len(whole.maps[0].queries) - 5
        assert whole.cut == 0 and (last is None or found.maps[0].queries[-1] == last)
        long = attention_maps(folder, TEXT * 30, tokens=256)  # the model has 128 positions
        assert len(long.maps[0].queries) == 128


def test_what_has_no_such_attention_is_refused_by_name(tmp_path: Path) -> None:
    import transformers

    from llm_core.models.lstm import LSTMConfig, LSTMForCausalLM

    size = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 1}
    networks = {
        "lstm": LSTMForCausalLM(LSTMConfig(dropout=0.0, **size)),
        "mamba": transformers.MambaForCausalLM(transformers.MambaConfig(state_size=4, **size)),
    }
    for name, network in networks.items():
        folder = make("gpt2", tmp_path / name)
        (folder / "model.safetensors").unlink()
        network.save_pretrained(folder)
        with pytest.raises(UserError, match=rf"{name} has no attention|no attentions of a {name}"):
            attention_maps(folder, TEXT)
    with pytest.raises(UserError, match=r"reads one text \(decoder\); leave out the target"):
        attention_maps(make("gpt2", tmp_path / "gpt2"), TEXT, TARGET)
