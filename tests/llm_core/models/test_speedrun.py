"""The family of our own: LLaMA with every switch off, another network by each switch, the same with a cache."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from llm_core.errors import UserError
from llm_core.models.language_model import LanguageModel
from llm_core.models.networks import build_config, build_network
from llm_core.models.vocabulary import grow
from llm_core.params.model import Model, Speedrun
from tests.llm_core.models.test_scale import VOCABULARY

SHAPE: dict[str, Any] = {"layers": 4, "width": 32, "heads": 2, "feed_forward": 64}
SWITCHES = [name for name in Speedrun.model_fields if name != "window_pattern"]
OFF = dict.fromkeys(SWITCHES, False)
OTHERS: dict[str, Any] = {"logit_softcap": 0.5, "tie_embeddings": False, "sliding_window": 3, "key_value_heads": 1}


def build(switches: dict[str, bool], moved: bool = True, **model: Any) -> Any:
    """A network in evaluation mode; `moved`: no weight is zero or one, as after some training."""
    settings = Model(family="speedrun", speedrun=Speedrun(**switches), **SHAPE | model)
    network = build_network(build_config(settings, VOCABULARY, 16), "auto", 0).eval()
    if moved:
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return network


def ids(rows: int = 2, length: int = 12) -> torch.Tensor:
    return torch.randint(3, VOCABULARY.size, (rows, length), generator=torch.Generator().manual_seed(0))


def test_without_its_switches_it_is_llama() -> None:
    ours = build(OFF, logit_softcap=None)
    settings = Model(family="llama", **SHAPE)
    theirs = build_network(build_config(settings, VOCABULARY, 16), "auto", 0).eval()
    theirs.load_state_dict(ours.state_dict())  # which also says that the weights have the same names
    assert torch.equal(ours(ids()).logits, theirs(ids()).logits)
    fresh = build(OFF, moved=False).state_dict()
    same = build_network(build_config(settings, VOCABULARY, 16), "auto", 0).state_dict()
    assert all(torch.equal(fresh[name], value) for name, value in same.items())


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_changes_the_network(switch: str) -> None:
    plain, other = build(OFF, moved=False), build(OFF | {switch: True}, moved=False)
    names = {name: value.shape for name, value in plain.named_parameters()}
    if names == {name: value.shape for name, value in other.named_parameters()}:  # no weights of its own
        assert not torch.equal(plain(ids()).logits, other(ids()).logits)
    else:
        moved = build(OFF | {switch: True})
        own = [value for name, value in moved.named_parameters() if name not in names]
        assert own or switch == "relu_squared"
        before = moved(ids()).logits
        with torch.no_grad():
            for value in own or [next(moved.parameters())]:
                value.add_(0.5)
        assert not torch.allclose(moved(ids()).logits, before), "its own weights count"


@pytest.mark.parametrize("knob", OTHERS)
def test_each_knob_of_other_families_changes_the_network(knob: str) -> None:
    plain, other = build({}), build({}, **{knob: OTHERS[knob]})
    assert not torch.allclose(plain(ids()).logits, other(ids()).logits)


def test_fresh_projections_add_nothing_and_predict_nothing() -> None:
    network = build({"residual_scalars": False, "smear": False}, moved=False, tie_embeddings=False)
    hidden = network.model(ids(), output_hidden_states=True).hidden_states
    assert torch.equal(hidden[0], hidden[-2]) and not network(ids()).logits.any()


@pytest.mark.parametrize("model", [{}, OTHERS], ids=["plain", "windows, cap, groups, untied"])
def test_a_cache_and_padding_on_the_left_change_nothing(model: dict[str, Any]) -> None:
    network = build({}, **model)
    whole = network(ids()).logits
    cached, cache = [], None
    for begin, end in ((0, 5), (5, 6), (6, 7), (7, 12)):
        found = network(ids()[:, begin:end], past_key_values=cache, use_cache=True)
        cached.append(found.logits)
        cache = found.past_key_values
    torch.testing.assert_close(torch.cat(cached, 1), whole, rtol=1e-4, atol=1e-5)
    padded = torch.cat([torch.full((2, 3), VOCABULARY.pad), ids()], 1)
    seen = (torch.arange(15) >= 3).long().expand(2, -1)
    found = network(padded, attention_mask=seen, position_ids=(seen.cumsum(1) - 1).clamp(min=0))
    torch.testing.assert_close(found.logits[:, 3:], whole, rtol=1e-4, atol=1e-5)
    alone = network.generate(ids(), max_new_tokens=4, do_sample=False, use_cache=False, eos_token_id=None)
    for options in ({"input_ids": ids()}, {"input_ids": padded, "attention_mask": seen}):
        written = network.generate(**options, max_new_tokens=4, do_sample=False, use_cache=True, eos_token_id=None)
        assert torch.equal(written[:, -4:], alone[:, -4:])


@pytest.mark.parametrize("attention", ["sdpa", "eager", "blocked"])
def test_documents_of_a_row_are_kept_apart(attention: str) -> None:
    """Two documents in one row have the losses that each has alone, in windows and through the smear."""
    network = build({}, **OTHERS)
    network.set_attn_implementation(attention)
    row, places = ids(1, 12), torch.arange(12)[None]
    targets = torch.roll(row, -1, 1)
    segments = torch.tensor([[1] * 5 + [2] * 7])
    places = torch.tensor([[*range(5), *range(7)]])
    module = LanguageModel(network, 4, document_mask=True).train(attention == "blocked")
    together = module.token_losses(row, targets, places, segments)
    for part in (slice(0, 5), slice(5, 12)):
        alone = module.token_losses(row[:, part], targets[:, part], places[:, part], segments[:, part])
        torch.testing.assert_close(alone, together[:, part], rtol=1e-4, atol=1e-5)
    mixed = LanguageModel(network, 4).token_losses(row, targets, places, segments)
    assert not torch.allclose(mixed[:, 5:], together[:, 5:], rtol=1e-3)


@pytest.mark.slow
def test_a_saved_folder_loads_where_the_project_is_not(tmp_path: Path) -> None:
    network = build({}, **OTHERS)
    network.save_pretrained(tmp_path / "model")
    torch.save((ids(), network(ids()).logits), tmp_path / "expected.pt")
    program = """
import sys
import torch
from transformers import AutoModelForCausalLM
network = AutoModelForCausalLM.from_pretrained("model", trust_remote_code=True).eval()
inputs, expected = torch.load("expected.pt")
print((network(inputs).logits - expected).abs().max().item(), type(network).__module__.split(".")[0],
      [name for name in sys.modules if name.startswith("llm_core")])
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["0.0", "transformers_modules", "[]"], done.stderr[-2000:]
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert torch.equal(again(ids()).logits, network(ids()).logits)


def test_attention_is_recorded_and_classifiers_are_built() -> None:
    network = build({})
    network.set_attn_implementation("eager")
    found = network(ids(), output_attentions=True).attentions
    assert [one.shape for one in found] == [(2, 2, 12, 12)] * 4
    torch.testing.assert_close(found[0].sum(-1), torch.ones(2, 2, 12))
    network.config.num_labels = 3
    classifier = transformers.AutoModelForSequenceClassification.from_config(network.config)
    assert classifier(ids()).logits.shape == (2, 3)


def test_new_tokens_get_value_embeddings() -> None:
    network = build({})
    before = network(ids()).logits
    grow(network, VOCABULARY.size + 64)
    assert torch.equal(network(ids()).logits[..., : VOCABULARY.size], before)
    assert network(torch.full((1, 4), VOCABULARY.size + 1)).logits.shape == (1, 4, VOCABULARY.size + 64)
    table = network.model.value_tables["3"].weight
    torch.testing.assert_close(table[-1], table[: VOCABULARY.size].mean(0))


def test_switches_are_for_this_family_and_fit_each_other() -> None:
    build_config(Model.model_validate(Model(layers=1).model_dump()), VOCABULARY, 16)  # a study writes out all knobs
    with pytest.raises(UserError, match=r"model.speedrun: llama has none \(only speedrun\)"):
        build_config(Model(family="llama", speedrun=Speedrun(smear=False)), VOCABULARY, 16)
    wide = build_config(Model(family="speedrun", width=192, heads=3), VOCABULARY, 16)
    gated = build_config(
        Model(family="speedrun", width=192, heads=3, speedrun=Speedrun(relu_squared=False)), VOCABULARY, 16
    )
    assert 2 * wide.intermediate_size == 3 * gated.intermediate_size == 1536, "as many weights"
    windows = Model(family="speedrun", layers=6, sliding_window=4, speedrun=Speedrun(window_pattern="SL"))
    kinds = "".join(kind[0] for kind in build_config(windows, VOCABULARY, 16).layer_types)
    assert kinds == "sfsfsf"
