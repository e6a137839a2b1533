"""The project's YAML files have the same content for DVC's fast parser (ruamel.yaml.clib) as for the plain one."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file.relative_to(ROOT).as_posix()
    for folder in ("", "presets", "experiments", "pipelines", "deploy")
    for file in (ROOT / folder).glob("*.yaml" if not folder else "**/*.yaml")
)


@pytest.mark.parametrize("name", FILES)
def test_both_parsers_agree(name: str) -> None:
    from ruamel.yaml import YAML

    text = (ROOT / name).read_text(encoding="utf-8")
    assert YAML(typ="safe").load(text) == YAML(typ="safe", pure=True).load(text)


def test_fast_parser_is_there() -> None:
    """Without it DVC reads params.yaml, once a stage, ten times slower: benchmarks/startup.py."""
    from ruamel.yaml.main import CParser

    assert CParser is not None
