"""The documentation holds: commands parse, links lead somewhere, examples are valid params, tutorials run.

Each `sh` block says above it whether it is run: `<!-- run -->`, or `<!-- not run: reason -->`. A page whose blocks all
share one reason says `<!-- not run on this page: reason -->` once. The blocks to run are executed by slow tests: those
of the tutorials page by page in the order of mkdocs.yml in one temporary folder, those of another page in its own. The
lines of a `text` block below `<!-- output -->` are looked for, in order, in what the block before it printed (`...`
matches anything).
"""

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tokenize
from dataclasses import dataclass, field
from functools import cache
from inspect import getsource as source
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml
from pydantic import BaseModel

from llm_core import params
from llm_core.cli import VERBS
from llm_core.params import quality
from tests.warm import start

ROOT = Path(__file__).parents[1]
DECISIONS = sorted((ROOT / "docs" / "explanation" / "decisions").glob("*.md"))
TUTORIALS = set((ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")} - set(DECISIONS))
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (run|not run: .{10,}|output) -->\s*\Z")
WHOLE_PAGE = re.compile(r"^<!-- not run on this page: .{10,} -->$", re.MULTILINE)
STUMBLE = re.compile(r"\b(?:stands?(?!-)|stood|told|(?:is|are|be) had|the like of|no longer than asked for)\b")
DOCSTRING = '"' * 3
ELSEWHERE = ("docs/data-format.md", "docs/explanation/decisions/NNNN-title.md")  # Dolma's own page, and a pattern
HEREDOC = re.compile(r"<<'?(\w+)'?\n.*?^\1$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """One fenced block: where it is, its language, its text, and the mark above it."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""
    outputs: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    end = 0
    for match in FENCE.finditer(text):
        mark = MARK.search(text[end : match.start()])
        end = match.end()
        body = re.sub(rf"(?m)^{match['indent']}", "", match["body"])
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match["language"], body, mark[1] if mark else ""))
        if found[-1].mark == "output":
            found[-2].outputs.append(body)
    return found


def commands(block: Block) -> list[list[str]]:
    """The words of each simple command of a block, without comments, here-documents and redirections."""
    text = HEREDOC.sub("\n", block.text)
    if block.language == "text":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    found: list[list[str]] = [[]]
    skip = False
    for line in text.replace("\\\n", " ").splitlines():
        found.append([])
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in lexer:
            if set(word) <= set("();<>|&"):
                skip = ">" in word or "<" in word
                if not skip:
                    found.append([])
            elif skip:
                skip = False
            else:
                found[-1].append(word)
    return [_without_assignments(words) for words in found if _without_assignments(words)]


def _without_assignments(words: list[str]) -> list[str]:
    while words and re.match(r"^[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def shell_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in ("sh", "text")]


def verb_of(words: list[str]) -> list[str] | None:
    """What follows `llm-core`, also where the verb is started as a module or through nice and time."""
    if "llm-core" in words[:3]:
        return words[words.index("llm-core") + 1 :]
    if "llm_core.cli" in words:
        return words[words.index("llm_core.cli") + 1 :]
    return None


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=named)


@every_page
def test_each_block_of_commands_is_run_or_says_why_not(page: Path) -> None:
    whole = WHOLE_PAGE.search(page.read_text(encoding="utf-8"))
    silent = [
        block.place
        for block in blocks(page)
        if block.language == "sh" and not (block.mark == "run" or block.mark.startswith("not run") or whole)
    ]
    assert not silent


@every_page
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert not re.findall(r"^    (?:llm-core|dvc|make|python|pytest) .*", text, re.MULTILINE)


@every_page
def test_verbs_and_options_exist(page: Path) -> None:
    for block in shell_blocks(page):
        for words in commands(block):
            arguments = verb_of(words)
            if arguments:
                check_verb(arguments, block.place)


def check_verb(arguments: list[str], place: str) -> None:
    verb, *rest = arguments
    if verb in ("--help", "--version", "VERB"):
        return
    assert verb in VERBS, f"{place}: no verb {verb}"
    if "--help" in rest:
        return
    command = typer.main.get_command(importlib.import_module(f"llm_core.cli.{VERBS[verb][0]}").app)
    elided = any(word in ("...", "…") for word in rest)
    rest = [word for word in rest if word not in ("...", "…")]
    context = click.Context(command, info_name=verb, resilient_parsing=elided)
    try:
        given, extra, _ = command.make_parser(context).parse_args(list(rest))
    except click.UsageError as error:
        raise AssertionError(f"{place}: llm-core {' '.join(arguments)}: {error.format_message()}") from None
    assert not extra, f"{place}: llm-core {verb} takes no {extra}"
    missing = [param.name for param in command.params if param.required and given.get(param.name) is None]
    assert elided or not missing, f"{place}: llm-core {' '.join(arguments)}: {missing} missing"
    overrides = [rest[number + 1] for number, word in enumerate(rest) if word in ("--set", "--change")]
    params.load(ROOT / "params.yaml", overrides)


@every_page
def test_other_programs_are_given_what_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for block in shell_blocks(page):
        for words in commands(block):
            if words[0] == "make":
                for target in words[1:]:
                    assert re.search(rf"(?m)^{target}:", makefile), f"{block.place}: no target {target}"
            for number, word in enumerate(words):
                if word.startswith(("benchmarks/", "tests/", "presets/")):
                    assert (ROOT / word.split("::")[0]).exists(), f"{block.place}: {word}"
                if word == "benchmarks" or word.startswith("benchmarks."):
                    assert (ROOT / (word.replace(".", "/") + ".py")).exists(), f"{block.place}: {word}"
                if word.startswith("experiments/"):
                    check_stage(word, block.place)
                if word == "-S" and words[0] == "dvc":
                    key, _, value = words[number + 1].partition("=")
                    params.load(ROOT / "params.yaml", [f"{key}={value.split(',')[0]}"])


def check_stage(target: str, place: str) -> None:
    file, _, stage = target.partition(":")
    declared = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["stages"]
    assert not stage or stage.split("@")[0] in declared, f"{place}: no stage {target}"


@every_page
def test_yaml_examples_are_valid_params(page: Path) -> None:
    for block in blocks(page):
        if block.language != "yaml" or "<" in block.text:
            continue
        values = yaml.safe_load(block.text)
        if not isinstance(values, dict):
            continue
        if set(values) <= set(params.Params.model_fields):
            params.Params.model_validate(values)
        elif all(isinstance(value, dict) and "kind" in value for value in values.values()):
            params.Params.model_validate({"sources": values})


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"], ids=named)
def test_pages_avoid_words_that_readers_stumble_over(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    assert not STUMBLE.findall(text)


@pytest.mark.parametrize("room", sorted(path.parent for path in ROOT.glob("llm_core/*/__init__.py")), ids=named)
def test_comments_and_docstrings_avoid_words_that_readers_stumble_over(room: Path) -> None:
    found = []
    for file in room.rglob("*.py"):
        with open(file, "rb") as stream:
            for token in tokenize.tokenize(stream.readline):
                docstring = token.type == tokenize.STRING and token.string[:3] == DOCSTRING and "<<" not in token.string
                if (token.type == tokenize.COMMENT or docstring) and STUMBLE.search(token.string):
                    found.append(f"{file}:{token.start[0]}")
    assert found == []


@pytest.mark.parametrize(
    "page", [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")], ids=named
)
def test_links_of_the_root_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [target for target in targets if "://" not in target and not (ROOT / target).exists()]


def test_each_picture_is_shown_and_can_be_taken_anew() -> None:
    from tests.pipelines import pictures

    pages = "".join(page.read_text() for page in PAGES)
    taken = {
        f"{name}.png" for take in pictures.TAKES for name in re.findall(r'shoot\(page, "([\w-]+)"\)', source(take))
    }
    assert taken == {file.name for file in pictures.IMAGES.iterdir()}
    assert {name for name in taken if f"images/{name})" not in pages} == set()


def test_pages_that_code_names_exist() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("no git here, so which files belong to the project is not known")
    missing = []
    for name in tracked.stdout.splitlines():
        file = ROOT / name
        if file.suffix in (".py", ".yaml", ".toml", ".md") and file.is_file() and name != "tests/test_docs.py":
            for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", file.read_text(encoding="utf-8")):
                if not (ROOT / page).is_file() and page not in ELSEWHERE:
                    missing.append(f"{name}: {page}")
    assert not missing


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "site" / "reference" / "params" / "index.html").is_file()


def reference(page: str) -> str:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text: str = getattr(module, page)()
    return text


def test_the_reference_has_every_parameter_and_every_verb() -> None:
    page = reference("params_page")
    missing = [name for name in leaves(params.Params()) if f"`{name}`" not in page]
    assert not missing
    assert not [rule for rule in quality.rules() if f"`rule: {rule}`" not in page]
    commands_page = reference("commands_page")
    assert not [verb for verb in VERBS if f"\n## `{verb}`\n" not in commands_page]


def leaves(section: Any, prefix: str = "") -> list[str]:
    """The dotted names of all values of a section, those of its registries included."""
    names = []
    for name in [*type(section).model_fields, *(section.model_extra or {})]:
        inner = getattr(section, name)
        names += leaves(inner, f"{prefix}{name}.") if isinstance(inner, BaseModel) else [f"{prefix}{name}"]
    return names


def test_decisions_have_numbers_of_their_own_and_are_all_in_the_index() -> None:
    numbers = [file.name[:5] for file in DECISIONS]  # works beside each other have ranges, so there may be gaps
    assert len(set(numbers)) == len(numbers) and all(re.fullmatch(r"\d{4}-", number) for number in numbers)
    index = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    listed = re.findall(r"\| (\d{4}) \| (\S+) \| \[(.+)\]\(explanation/decisions/(.+)\) \|", index)
    assert sorted(name for _, _, _, name in listed) == [file.name for file in DECISIONS]
    for number, date, title, name in listed:
        text = (ROOT / "docs" / "explanation" / "decisions" / name).read_text(encoding="utf-8")
        assert (name[:4], text.splitlines()[0], text.splitlines()[2][:10]) == (number, f"# {title}", date)


@pytest.mark.parametrize("file", DECISIONS, ids=lambda file: file.stem)
def test_a_decision_has_date_attempt_and_outcome_and_is_short(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    form = r"# .+\n\n\d{4}-\d\d-\d\d, [a-z ]+\n\n\*\*Tried or considered\.\*\* .+\n\*\*Outcome\.\*\* .+"
    assert re.match(form, text, re.DOTALL)
    assert len(text.split()) <= 400


def tutorial_blocks() -> list[Block]:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("", lambda loader, suffix, node: None)
    navigation = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]
    pages = next(entry["Tutorials"] for entry in navigation if isinstance(entry, dict) and "Tutorials" in entry)
    return [block for page in pages for block in blocks(ROOT / "docs" / page) if block.mark == "run"]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two CPU minutes; eight minutes were seen beside other work
def test_the_tutorials_run_in_order_and_print_what_they_say(tmp_path: Path) -> None:
    run_blocks(tutorial_blocks(), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    sorted({page for page in PAGES if any(block.mark == "run" for block in blocks(page))} - TUTORIALS),
    ids=named,
)
def test_another_page_runs_by_itself_and_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    run_blocks([block for block in blocks(page) if block.mark == "run"], tmp_path)


def run_blocks(chosen: list[Block], folder: Path) -> None:
    """Run each block in `folder`; a failure, or a line of output that is missing, names the block."""
    environment = os.environ | {
        "PATH": start.path(),
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }
    for block in chosen:
        language = ["bash", "-euo", "pipefail"] if block.language == "sh" else start.script()
        ran = subprocess.run(
            language, input=block.text, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert ran.returncode == 0, f"{block.place}\n{ran.stdout}\n{ran.stderr}"
        for expected in block.outputs:
            missing = first_missing_line(expected, ran.stdout)
            assert missing is None, f"{block.place}: {missing!r} is not printed\n{ran.stdout}\n{ran.stderr}"


def first_missing_line(expected: str, printed: str) -> str | None:
    """The first line of `expected` that does not follow the ones before it in `printed`; `...` matches anything."""
    lines = iter(" ".join(line.split()) for line in printed.splitlines())
    for line in expected.splitlines():
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("..."))
        if not any(re.fullmatch(pattern, candidate) for candidate in lines):
            return line
    return None


def test_outputs_are_compared_line_by_line_in_order() -> None:
    assert first_missing_line("a\nc ... e\n", "a\nb\nc  d  e\n") is None
    assert first_missing_line("c\na\n", "a\nb\nc\n") == "a"
    assert first_missing_line("a\n", "") == "a"
