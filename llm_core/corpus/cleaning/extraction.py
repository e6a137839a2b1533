"""HTML to text: the step `extract`.

A whole page is reduced to its article (`boilerplate.py`); a fragment, such as a database field with a few tags in it,
is rendered whole by resiliparse.
"""

import re

from llm_core.corpus.cleaning.batch import Batch
from llm_core.corpus.cleaning.boilerplate import extract_article
from llm_core.corpus.cleaning.html_blocks import read_page
from llm_core.params.cleaning import Extraction

PAGE = re.compile(r"<(?:!doctype|html|head|body)\b", re.I)
DECLARATION = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?", re.I)
ROOT = re.compile(r"<(?:!doctype html|html)\b", re.I)
SPACE = re.compile(r"\s*")
SNIFFED = 2048  # characters at the beginning of a document in which a page's markup must begin


class ExtractStep:
    """Replaces the HTML of HTML documents by its text; other documents pass unchanged."""

    def __init__(self, params: Extraction) -> None:
        self.params = params

    def __call__(self, batch: Batch) -> None:
        """Extract the living documents that are HTML."""
        for row in batch.alive():
            html = batch.texts[row]
            declared = '"text/html"' in (batch.metadata[row] or "") and (
                batch.read_metadata(row).get("content_type") == "text/html"
            )
            if not declared and not (self.params.sniff and begins_as_page(html[:SNIFFED])):
                continue
            text = extract(html, self.params)
            if not text:
                batch.drop(row, "no_text_in_html")
                continue
            batch.change(row, text, "extract")
            batch.update_metadata(row, content_type="text/plain")


def begins_as_page(text: str) -> bool:
    """Whether a text begins like an HTML page, apart from comments before it; linear in the text."""
    at = DECLARATION.match(text).end()  # type: ignore[union-attr]  # matches the empty text too
    while text.startswith("<!--", at):
        end = text.find("-->", at + len("<!--"))
        if end < 0:
            return False
        at = SPACE.match(text, end + len("-->")).end()  # type: ignore[union-attr]
    return ROOT.match(text, at) is not None


def extract(html: str, params: Extraction) -> str:
    """The text of an HTML page (its article alone, if params say so) or of a fragment; empty where there is none."""
    if params.main_content and PAGE.search(html[:4096]) is not None:
        return extract_article(read_page(html))
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, preserve_formatting=True).strip()
