"""Text from data adds nothing to a card, to a takedown's plan and proof, or to a comparison."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.corpus import takedowns
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.pages import Block, to_html, to_markdown
from llm_core.lineage.cards import dataset_card
from llm_core.lineage.diff import Diff
from llm_core.lineage.handover import check_report, plan_report
from llm_core.lineage.index import open_index
from llm_core.lineage.proof import Proof
from llm_core.lineage.takedown import plan
from llm_core.params import Params
from llm_core.runtime import json_lines
from tests.llm_core.lineage.conftest import IDS, rows

HOSTILE = [
    "a | b | c", "x\n\n# heading", "# heading", "1. # heading", "- ## heading", "* # heading", "> # heading",
    "![x](http://evil.example/p.png)", "<script>alert(1)</script>", "<img src=x onerror=y>",
    "[a](javascript:alert(1))", "[a]: http://evil.example", "===", "---", "--", "```", "\x1b[31mred", "\u202egnp.exe",
]  # fmt: skip


def markdown_is_plain(blocks: list[Block]) -> None:
    """The page has the headings and columns of its own blocks alone, and no image, link, tag, code or rule."""
    text = to_markdown(blocks)
    lines = text.splitlines()
    own = sum(block.kind in ("title", "heading") for block in blocks)
    assert sum(bool(re.match(r"(?:[-*+>]\s+|\d+[.)]\s+)*#", line)) for line in lines) == own, text
    assert not any(mark in text for mark in ("![", "](", "<script", "<img", "`", "\x1b", "\u202e")), text
    assert not any(re.match(r"(=+|([-*_])(?:\s*\2)+\s*$|\[[^\]]*\]:)", line) for line in lines), text
    for block in blocks:
        if block.kind == "table" and block.content:
            assert len({line.count("|") for line in to_markdown([block]).strip().splitlines()}) == 1
    page = to_html(blocks)
    assert "<script" not in page and "<img" not in page and "href" not in page


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card(project, text):
    changed = [{**row, "license": f"{text}{row['license']}", "source": text, "language": text} for row in rows()]
    with DocumentWriter(project / "data/dedup/documents") as writer:
        writer.write_rows(changed)
    tombstones = project / "takedowns.jsonl"
    json_lines.write_rows(tombstones, [{"id": "gone", "reason": text}])
    source = {"kind": "files", "paths": [text], "license": text}
    params = Params.model_validate({"sources": {"pages": source}})
    markdown_is_plain(dataset_card(project / "data", params, tombstones))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_plan_and_a_proof(project, text):
    index = open_index(project / "data")
    asked = plan(index, project / "data", "id", IDS[5], text, True, 1)
    markdown_is_plain(plan_report(asked, index, applied=True))
    tombstones = project / takedowns.FILE
    json_lines.write_rows(tombstones, [{"id": text, "reason": text}])
    proof = Proof(left={"dedup": 0}, remains=[(text, text, text)], unmatched=[text])
    markdown_is_plain(check_report(proof, project / "data", tombstones))


@given(st.lists(st.text(alphabet="#|[]()!<>`*-_=+1. \n\r\\:a\x1b\u2028", max_size=12), min_size=3, max_size=3))
def test_any_text_is_plain(texts):
    first, second, third = texts
    found = Diff(first, second)
    found.settings = [{"setting": first or "a", "before": second, "after": third}]
    markdown_is_plain([*found.page(), Block("list", texts), Block("text", third)])
