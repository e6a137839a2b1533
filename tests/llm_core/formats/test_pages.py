"""Text from data stays text, in every kind of block."""

import pytest

from llm_core.formats.pages import Block, to_html, to_markdown

HOSTILE = "# Free\n## heading\n\n![x](http://e.example/p.png) [l](javascript:1) | <script>1</script> `c` \\| end"
BLOCKS = [
    Block("title", HOSTILE), Block("heading", HOSTILE), Block("text", HOSTILE), Block("note", HOSTILE),
    Block("lead", [(HOSTILE, HOSTILE)]), Block("list", [HOSTILE]), Block("subheading", HOSTILE),
    Block("group", [Block("text", HOSTILE)], HOSTILE),
    Block("first", [Block("contents", True), Block("text", HOSTILE)]),
    Block("table", [{HOSTILE: HOSTILE, "n": 1}]), Block("folded", [{"a": HOSTILE}], HOSTILE),
]  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.kind)
def test_hostile_text_adds_nothing_to_a_page(block: Block) -> None:
    markdown = to_markdown([block])
    own = {"title": 1, "heading": 1, "subheading": 1}.get(block.kind, 0)
    assert sum(line.lstrip("->* ").startswith("#") for line in markdown.splitlines()) == own
    assert not any(mark in markdown for mark in ("![", "](", "<script", "`"))
    if block.kind == "table":
        assert {line.count("|") for line in markdown.strip().splitlines()} == {3}
    page = to_html([block])
    assert "<script" not in page and "<img" not in page
