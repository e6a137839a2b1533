"""One name, one meaning: the options that verbs share are in one table, and every verb follows it."""

import importlib
import typing
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer

from llm_core.cli import VERBS
from llm_core.cli.options import MEANINGS
from llm_core.cli.renamed import RENAMED, present

KINDS = {Path: "path", str: "text", int: "number", float: "number", bool: "flag"}
AS_TEXT = {"--in", "--benchmarks"}
"""Paths that some verbs take as text, because an address such as s3://bucket/folder is allowed there."""


def parameters(verb: str) -> dict[str, Any]:
    """Name on the command line -> click's parameter, of the options and arguments of a verb."""
    command = typer.main.get_command(importlib.import_module(f"llm_core.cli.{VERBS[verb][0]}").app)
    found = {}
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            found[(parameter.metavar or parameter.name or "").strip("[]").lower()] = parameter
        else:
            found |= dict.fromkeys(parameter.opts, parameter)
    return found


def kind(name: str, parameter: Any) -> str:
    """What the value of a parameter is: a path, a text, a number or a flag."""
    annotation = parameter.type_descriptor.annotation
    inner = [part for part in (annotation, *typing.get_args(annotation)) if part in KINDS]
    while not inner:
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
        inner = [part for part in (annotation, *typing.get_args(annotation)) if part in KINDS]
    return "path" if name in AS_TEXT else KINDS[inner[0]]


def shared() -> dict[str, dict[str, Any]]:
    """Name -> verb -> parameter, of the names that more than one verb takes."""
    places: dict[str, dict[str, Any]] = defaultdict(dict)
    for verb in VERBS:
        for name, parameter in parameters(verb).items():
            places[name][verb] = parameter
    return {name: verbs for name, verbs in places.items() if len(verbs) > 1}


def test_every_shared_name_is_in_the_table_and_the_table_has_no_other() -> None:
    assert shared().keys() == MEANINGS.keys()


@pytest.mark.parametrize("name", MEANINGS)
def test_a_name_has_one_type_and_one_meaning(name: str) -> None:
    verbs = shared()[name]
    kinds = {verb: kind(name, parameter) for verb, parameter in verbs.items()}
    assert len(set(kinds.values())) == 1, kinds
    others = {
        verb: parameter.help for verb, parameter in verbs.items() if not parameter.help.startswith(MEANINGS[name])
    }
    assert not others


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_takes_params_and_set_or_neither(verb: str) -> None:
    assert len({"--params", "--set"} & parameters(verb).keys()) in (0, 2)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_takes_params_if_and_only_if_it_reads_them(verb: str) -> None:
    source = Path(importlib.import_module(f"llm_core.cli.{VERBS[verb][0]}").__file__ or "").read_text("utf-8")
    assert ("--params" in parameters(verb)) == ("read_params(" in source)


@pytest.mark.parametrize("verb", RENAMED)
def test_an_earlier_name_of_an_option_is_another_one_now(verb: str) -> None:
    assert {*RENAMED[verb].values()} <= parameters(verb).keys()
    for old in RENAMED[verb]:
        assert old not in parameters(verb)
    old, new = next(iter(RENAMED[verb].items()))
    assert present(verb, [old, "x", f"{old}=y"]) == [new, "x", f"{new}=y"]


def test_rollback_took_the_name_alone() -> None:
    assert present("rollback", ["base"]) == ["--name", "base"] == present("rollback", ["--name", "base"])
