"""params.yaml is checked: what is unknown or ill-typed is named, with what would be accepted."""

from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.params import load
from llm_core.runtime.nested import flatten

ROOT = Path(__file__).parents[3]


def write(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    return tmp_path / "params.yaml"


def test_the_projects_own_params_are_valid():
    assert load(ROOT / "params.yaml").sources


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_valid(preset):
    assert load(preset).seed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("network: {retrys: 3}", r"unknown key 'network.retrys' \(accepted here: .*retries"),
        ("speed: 3", r"unknown key 'speed' \(accepted here: .*network"),
        ("network: {retries: many}", r"'network.retries': input should be a valid integer.*'many'"),
        ("network: {retries: -1}", "greater than or equal to 0"),
        ("- a list", "mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_wrong_keys_and_values_are_named(tmp_path, text, told):
    with pytest.raises(UserError, match=told) as caught:
        load(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_overrides_reach_nested_keys(tmp_path):
    params = load(write(tmp_path, "seed: 1"), ["network.retries=2", "seed=7"])
    assert (params.network.retries, params.seed) == (2, 7)
    assert flatten(params)["network.retries"] == 2


def test_an_override_without_a_value(tmp_path):
    with pytest.raises(UserError, match="KEY=VALUE"):
        load(write(tmp_path, "seed: 1"), ["seed"])


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="no such params file"):
        load(tmp_path / "absent.yaml")
