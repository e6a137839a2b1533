"""The page of attention: pictures by hand, what is chosen, bounds, and text that is hostile to a page."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from llm_core.cli import main
from llm_core.errors import UserError
from llm_core.formats.pages import to_html
from llm_core.models.attention_maps import AttentionMaps, Inspected
from llm_core.report import attention
from tests.llm_core.open_model_folders import make

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31m \u202eab & \"q\" 'r' {{x}} ]]>"


class Tags(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attributes}


def main_exit(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


def maps(layers: int, heads: int, tokens: list[str]) -> AttentionMaps:
    even = np.full((heads, len(tokens), len(tokens)), 1 / len(tokens), "float32")
    return AttentionMaps("The text on itself", tokens, tokens, dict.fromkeys(range(1, layers + 1), even), True)


def test_a_picture_by_hand() -> None:
    picture = attention.small_picture(np.array([[1, 0, 0], [0.25, 0.25, 0.5]]), "a < b")
    assert 'viewBox="0 0 3 2"' in picture and 'aria-label="a &lt; b"' in picture
    assert '<path d="M0 0h1v1h-1z" style="fill:var(--a)" fill-opacity="1"/>' in picture
    assert '<path d="M0 1h2v1h-2z" style="fill:var(--a)" fill-opacity="0.5"/>' in picture  # the root of a quarter
    assert '<path d="M2 1h1v1h-1z" style="fill:var(--a)" fill-opacity="0.7"/>' in picture
    large = attention.large_picture(np.array([[1, 0], [0.25, 0.75]]), ["x", "y"], ["x", "y"], "")
    assert "<title>y attends to y 0.75, x 0.25</title>" in large


def test_shares_by_hand() -> None:
    weights = np.array([[[1, 0, 0], [0.5, 0.5, 0], [0, 0.8, 0.2]]])
    (row,) = attention.shares(AttentionMaps("", ["a", "b", "c"], ["a", "b", "c"], {3: weights}, True))
    assert (row["layer"], row["head"]) == (3, 1)
    assert row["itself"] == pytest.approx(1.7 / 3)
    assert row["token before"] == pytest.approx(1.3 / 2) and row["first token"] == pytest.approx(0.5)


def test_layers_and_heads_are_chosen() -> None:
    inspected = Inspected([maps(3, 4, ["a", "b"])], 0, None)

    def pictures(**chosen: int) -> int:
        return to_html(attention.attention_page(Path("m"), "a", inspected, **chosen)).count("<svg")

    assert pictures() == 3 * (4 + 1)  # with the mean of each layer
    assert pictures(layer=2) == 5 and pictures(head=4) == 3 and pictures(layer=1, head=1) == 1
    for wrong in ({"layer": 4}, {"head": 5}):
        with pytest.raises(UserError, match=r"no such layer or head.*3 layers of 4 heads"):
            attention.attention_page(Path("m"), "a", inspected, **wrong)
    big = Inspected([maps(40, 32, ["a"] * 64)], 0, None)
    with pytest.raises(UserError, match=r"--layer.*--head.*--max-tokens"):
        attention.attention_page(Path("m"), "a", big)
    assert attention.attention_page(Path("m"), "a", big, layer=40)


def test_hostile_text_adds_nothing_to_the_page() -> None:
    inspected = Inspected([maps(1, 2, [HOSTILE, "b"])], 0, HOSTILE)
    hostile = to_html(attention.attention_page(Path(f"folder{HOSTILE.replace('/', '')}"), HOSTILE, inspected))
    plain = to_html(attention.attention_page(Path("folder"), "a", Inspected([maps(1, 2, ["a", "b"])], 0, "a")))
    assert Tags(hostile).found == Tags(plain).found and Tags(hostile).attributes == Tags(plain).attributes
    assert not {"script", "img", "link", "a", "iframe"} & Tags(plain).found
    assert not {"src", "href", "onerror"} & Tags(plain).attributes
    assert "\x1b" not in hostile and "\u202e" not in hostile


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, page = make("t5", tmp_path / "t5"), tmp_path / "page.html"
    common = ["inspect", "--model", str(folder), "--text", f"The river {HOSTILE}"]
    shown = ["--attention", "--max-tokens", "12", "--out-file"]
    assert main_exit([*common, *shown, str(page)]) == 0
    written = page.read_text()
    assert written.count("<svg") == 3 * 2 * 3 and "Written by the model" in written and "left out" in written
    assert main_exit([*common, *shown, str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == written
    capsys.readouterr()
    assert main_exit(common) == 0
    said = capsys.readouterr().out
    assert "kind: encoder-decoder" in said and "layers: 2" in said and "tokens: " in said and "\x1b" not in said
    for wrong in (["--layer", "1"], ["--attention"], ["--attention", "--out-file", str(tmp_path / "page.md")]):
        assert main_exit([*common, *wrong]) == 1
        assert "llm-core: error: " in capsys.readouterr().err
