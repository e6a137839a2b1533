"""params.yaml is checked: the error for an unknown or ill-typed key names it and lists what is accepted."""

from pathlib import Path

import pytest

from llm_core.cli import main
from llm_core.cli.preset import changes
from llm_core.errors import UserError
from llm_core.params import load, presets
from llm_core.params.reading import parse, read_values
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
        (
            "finetuning: {runs: {mood: {method: regression, data: {path: a.csv, label_field: stars}}}}",
            r"mood.data.label_field': is now data.columns.score: .* got 'stars'",
        ),
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


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_states_only_differences_and_makes_a_params_file_of_its_own(preset, tmp_path):
    stated = {key for key in flatten(read_values(preset)) if key != presets.MARK and not key.startswith("sources.")}
    assert changes(preset) and stated - set(changes(preset)) <= {"network.parallel", "pretraining.steps"}
    assert "decontamination.threshold" not in changes(preset)
    text = presets.merge(preset)
    (tmp_path / "params.yaml").write_text(text)
    assert load(tmp_path / "params.yaml") == load(preset)
    comments = [line.split(" # ")[1] for line in preset.read_text().splitlines() if " # " in line]
    assert "# tables of figures" in text and any(one in text for one in comments), "comments of both files"


@pytest.mark.parametrize(
    "names", [["web", "Web"], ["caf\u00e9", "cafe\u0301"], ["../x"], ["a/b"], [""], ["."], ["-a"], ["a."], ["{source}"]]
)
def test_source_names_that_share_or_leave_a_folder_are_refused(tmp_path, names):
    sources = "".join(f'  "{name}": {{kind: files, paths: [x]}}\n' for name in names)
    with pytest.raises(UserError, match="source name"):
        load(write(tmp_path, f"sources:\n{sources}"))


def test_source_names_of_every_script_are_allowed(tmp_path):
    names = ["wiki-en_2.1", "हिन्दी", "中文 网页", "a b"]
    sources = "".join(f'  "{name}": {{kind: files, paths: [x]}}\n' for name in names)
    assert list(load(write(tmp_path, f"sources:\n{sources}")).sources) == names


def test_the_list_of_knobs_shows_no_password(tmp_path, capsys):
    text = 'sources:\n  a: {kind: files, paths: ["https://bob:s3cret@h.example/x?token=abcd1234"]}\n'
    with pytest.raises(SystemExit, match="0"):
        main(["params", "sources", "--params", str(write(tmp_path, text))])
    shown = capsys.readouterr().out
    assert "h.example" in shown and "s3cret" not in shown and "abcd1234" not in shown


def test_aliases_that_write_out_to_more_than_any_params_are_refused_at_once():
    lists = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    with pytest.raises(UserError, match=r"p: not valid YAML \(more than 1,000,000 values"):
        parse("\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *lists]), "p")
    with pytest.raises(UserError, match=r"the alias \*a is within what it names"):
        parse("a: &a [1, {b: *a}]", "p")
    assert parse("a: &a [1, 2]\nb: [*a, *a]\nc: &c 3\nd: *c", "p") == {
        "a": [1, 2],
        "b": [[1, 2], [1, 2]],
        "c": 3,
        "d": 3,
    }
