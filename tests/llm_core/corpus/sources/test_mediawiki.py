"""MediaWiki's dumps: articles as text with title and revision, everything else counted, bombs bounded."""

import bz2
import json
import random
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from llm_core.corpus.sources.base import Document, Limits
from llm_core.corpus.sources.mediawiki import read_dump
from llm_core.corpus.sources.parsing.client import Parser
from llm_core.corpus.sources.parsing.wikitext import plain, without_marked
from llm_core.params.sources import FilesSource

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de"><siteinfo>
<sitename>Wikipedia</sitename><base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base><namespaces>
<namespace key="0" /><namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace></namespaces>
</siteinfo>"""
ARTICLE = """'''Fluss''' ist ein [[Bach|fließendes]] Gewässer.&lt;ref name="a">Ein Beleg&lt;/ref>&lt;ref name="b" />
{{Infobox|name={{{1|}}}|x=|}}
== Geschichte ==
* [[Nil]]
{| class="wikitable"
| a || b
|}
[[Datei:x.jpg|mini|Ein [[Bild]]]] [[Kategorie:Flüsse]] Ende &amp;amp; mehr. &lt;!-- c -->"""


def page(number: int, text: str, title: str = "", namespace: int = 0, inner: str = "", model: str = "wikitext") -> str:
    return (
        f"<page><title>{title or f'Seite {number}'}</title><ns>{namespace}</ns><id>{number}</id>{inner}<revision>"
        f"<id>{number + 900}</id><timestamp>2024-01-02T03:04:05Z</timestamp><contributor><id>7</id></contributor>"
        f"<model>{model}</model><format>text/x-wiki</format><text>{text}</text></revision></page>\n"
    )


def dump(*pages: str) -> bytes:
    return (HEAD + "".join(pages) + "</mediawiki>").encode()


def source(*paths, **settings) -> FilesSource:
    return FilesSource(kind="files", paths=[str(path) for path in paths], **settings)


def test_articles_as_text_and_everything_else_counted(tmp_path, run):
    data = dump(
        page(1, ARTICLE, "Fluss &amp; See"),
        page(2, "#REDIRECT [[Fluss]]", inner='<redirect title="Fluss" />'),
        page(3, "talk", namespace=1),
        page(4, "return 1", model="Scribunto"),
        page(5, "{{only}}"),
    )
    (tmp_path / "plain.xml").write_bytes(data)
    half = len(data) // 2
    (tmp_path / "pages-articles1.xml-p1p41242.bz2").write_bytes(bz2.compress(data[:half]) + bz2.compress(data[half:]))
    result = run(source(tmp_path))
    texts = [row["text"] for row in result.documents]
    assert len(texts) == 2 and texts[0] == texts[1]
    assert texts[0].split() == [
        "Fluss",
        "ist",
        "ein",
        "fließendes",
        "Gewässer.",
        "Geschichte",
        "Nil",
        "Ende",
        "&",
        "mehr.",
    ]
    row = result.documents[0]
    metadata = json.loads(row["metadata"])
    assert (metadata["title"], metadata["revision_id"], metadata["page_id"]) == ("Fluss & See", "901", "1")
    assert row["url"] == "https://de.wikipedia.org/wiki/Fluss_%26_See" and row["created"] == "2024-01-02T03:04:05Z"
    assert result.dropped == ["empty_page"] * 2
    assert result.metrics["records_skipped"] == dict.fromkeys(
        ("wiki_redirect", "wiki_other_namespace", "wiki_other_format"), 2
    )
    offset = next(row["offset"] for row in result.ledger if row["reason"] == "empty_page")
    assert data[offset:].startswith(b"<page><title>Seite 5")


def test_of_several_revisions_the_last_is_taken(tmp_path, run):
    both = page(1, "new text").replace("<revision>", "<revision><id>5</id><text>old text</text></revision><revision>")
    (tmp_path / "history.xml").write_bytes(dump(both))
    (row,) = run(source(tmp_path)).documents
    assert row["text"] == "new text" and '"revision_id": "901"' in row["metadata"]


def test_what_is_no_dump_or_breaks_off_is_named(tmp_path, run):
    good = dump(page(1, "a river"), page(2, "a town"))
    bomb = b'<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + dump(page(1, "&b;"))
    files = {
        "cut.xml": (good[:-60], "quarantine_xml"),
        "deep.xml": (b"<mediawiki>" + b"<a>" * 10000, "quarantine_too_deep"),
        "entities.xml": (bomb, "quarantine_xml_entities"),
        "feed.xml": (b"<rss><channel/></rss>", "quarantine_wrong_kind"),
        "long.xml": (dump(page(1, "x" * 5000)), "quarantine_too_large"),
        "tag.xml": (b"<mediawiki><" + b"a" * 200_000, "quarantine_too_large"),
        "text.xml": (b"no xml", "quarantine_xml"),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    result = run(source(tmp_path, max_document_bytes=4000))
    assert [row["text"] for row in result.documents] == ["a river"]
    judged = {Path(row["shard"]).name: row["reason"] for row in result.ledger if row["verdict"] == "dropped"}
    assert judged == {name: reason for name, (_, reason) in files.items()}


def test_memory_does_not_grow_with_the_dump(tmp_path):
    peaks = []
    for pages in (20, 200):
        file = tmp_path / f"{pages}.xml"
        file.write_bytes(dump(*(page(number, "{{only}} " + "x" * 50_000, namespace=1) for number in range(pages))))
        with Parser(source(file)) as parser:
            tracemalloc.start()
            skipped: Counter[str] = Counter()
            assert not list(read_dump(file, file.name, parser, Limits(), skipped))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert skipped == {"wiki_other_namespace": pages}
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(
    "shape", ["{{a|", "{{", "[[a|", "[[File:a|", "\n{|\n|", "<ref>", "{{{a", "}}", "<!--", "{{a}}"]
)
def test_marks_without_a_partner_take_linear_time(shape):
    seconds = []
    for count in (20_000, 80_000):
        begin = time.process_time()
        without_marked(shape * count)
        seconds.append(time.process_time() - begin)
    assert seconds[1] < 12 * max(seconds[0], 0.005)


def test_a_page_that_takes_too_long_is_named_and_the_next_is_read(tmp_path):
    bomb = "&lt;a b='" * 40_000  # of which mwparserfromhell tries each to the end
    (tmp_path / "bomb.xml").write_bytes(dump(page(1, bomb), page(2, "a town"), page(3, "{{a|" * 100_000 + " a river")))
    with Parser(source(tmp_path, document_seconds=1)) as parser:
        records = list(read_dump(tmp_path / "bomb.xml", "bomb.xml", parser, Limits(), Counter()))
    assert [getattr(record, "reason", None) for record in records] == ["quarantine_document_time", None, None]
    assert "document_seconds" in records[0].detail
    assert records[1].text == "a town" and isinstance(records[2], Document) and records[2].text.endswith("a river")


def test_no_word_is_lost_behind_marks_without_a_partner():
    draw = random.Random(1)
    opening = ["{{", "[[", "\n{|", "<ref>", "<!--", "'", "=", "{"]
    closing = ["}}", "]]", "\n|}", "</ref>", "-->", "|", "}", "\n*"]
    for _ in range(300):
        for marks in (opening, closing):
            text = "begin " + "".join(draw.choices([*marks, "word "], k=30))
            assert without_marked(text).count("word") == text.count("word")
        assert plain("begin " + "".join(draw.choices([*opening, *closing, "word "], k=30))).startswith("begin")


def test_words_within_templates_tables_and_references_go():
    text = (
        "a {{b|c=|}} d {{e|{{f}}}} [[File:g|[[h]]]] [[Image:i]] [[j|k]] <ref>l</ref> m\n{| class=n\n|-\n| o\n|}\np {{q"
    )
    assert plain(text).split() == ["a", "d", "k", "m", "p", "q"]
