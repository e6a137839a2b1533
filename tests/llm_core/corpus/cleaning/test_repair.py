"""Unicode repair, on examples that a reader can check by eye."""

import pytest

from llm_core.corpus.cleaning.batch import Batch
from llm_core.corpus.cleaning.extraction import ExtractStep, extract
from llm_core.corpus.cleaning.repair import RepairStep, repair
from llm_core.params.cleaning import Extraction, Repair


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("l\u00c3\u00a9on", "l\u00e9on"),  # UTF-8 read as Latin-1
        ("the cafe\u0301", "the caf\u00e9"),  # composed by NFC
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("a\x00b\x1b[1mc\x1b[0m\ufeffd\u200b", "abcd"),
        ("a\u00a0b\u3000c", "a b c"),
        ("line  \n\n\n\n  next\t\n", "line\n\n  next"),
        ("\u201cquoted\u201d \ufb01 \uff21", "\u201cquoted\u201d \ufb01 \uff21"),  # what the author wrote stays
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),  # joiners stay
    ],
)
def test_repair(broken: str, mended: str) -> None:
    assert repair(broken, Repair()) == mended
    assert repair(mended, Repair()) == mended


@pytest.mark.parametrize(
    "text",
    [
        "\u1781\u17d2\u1789\u17bb\u17c6\u200b\u1791\u17c5\u200bPhnom",  # Khmer: the zero-width space separates words
        "\u0e41\u0e21\u0e48\u200b\u0e19\u0e49\u0e33",  # Thai
        "\u1019\u103c\u1005\u103a\u200b\u101e\u100a\u103a",  # Myanmar
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian: the non-joiner
        "\u0915\u094d\u200d\u0937",  # Devanagari: the joiner
    ],
)
def test_invisible_characters_that_a_script_needs_stay(text: str) -> None:
    assert repair(text, Repair()) == text


def test_blanks_before_a_line_end_go_in_linear_time() -> None:
    assert repair("a" + " \t" * 100_000 + "x \t\n  y  ", Repair()) == "a" + " \t" * 100_000 + "x\n  y"


def one(text: str, source: str, metadata: str | None = None) -> Batch:
    return Batch(["x"], [source], [None], [text], [None], [None], [None], [metadata])


def test_characters_are_replaced_in_their_source_only() -> None:
    step = RepairStep(Repair(characters={"bible": {"`": "'"}}))
    for source, expected in (("bible", "God's"), ("other", "God`s")):
        batch = one("God`s", source)
        step(batch)
        assert batch.texts == [expected]


def test_html_is_extracted_where_it_is_html() -> None:
    step = ExtractStep(Extraction())
    fragment = one(
        "<h1>Chad</h1>\n<p>Area: <b>1.3</b> &amp; more<br>x</p>", "f", '{"content_type": "text/html", "k": 1}'
    )
    step(fragment)
    assert fragment.texts == ["Chad\n\nArea: 1.3 & more\nx"]
    assert fragment.read_metadata(0) == {"content_type": "text/plain", "k": 1}
    plain = one("if a <b> c", "f")
    step(plain)
    assert plain.texts == ["if a <b> c"] and not plain.changes
    nothing = one("<html><script>x</script></html>", "f")
    step(nothing)
    assert nothing.reasons == {0: "no_text_in_html"}


def test_main_content_leaves_out_navigation() -> None:
    body = "<p>" + "The article has a sentence, and then another one that follows it. " * 5 + "</p>"
    html = f"<!doctype html><html><body><nav><ul><li><a href=/>Home page</a></li></ul></nav><main>{body}</main></body>"
    assert "Home page" not in extract(html, Extraction()) and "The article" in extract(html, Extraction())
