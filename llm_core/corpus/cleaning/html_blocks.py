# ruff: noqa: SIM905 (lists of words read better as words)
"""A page as a list of blocks: runs of text between block-level tags, each with the features that boilerplate is judged
by.
resiliparse parses and repairs the page, and writes it out again; one regular expression then cuts it at its tags. To
walk its tree node by node from Python costs 40 times as much (85 ms a page), lxml's tree with its parsing half as much
again. Hints are words in `class`, `id`, `role` and tags that say what a part of the page is for.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from html import unescape

import numpy as np
from resiliparse.parse.html import HTMLTree

DROPPED = frozenset(
    "script style noscript template iframe svg canvas object embed applet audio video map math select option optgroup "
    "textarea input button datalist progress meter dialog head title meta link base frame frameset".split()
)
VOID = frozenset("hr input meta link base embed frame source track param area col img wbr".split())
INLINE = frozenset(
    "abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q ruby rb rt rp rtc s samp "
    "small span strike strong sub sup time tt u var wbr img picture source".split()
)
UNDIVIDING = INLINE | DROPPED | {"a", "br"}  # all other tags end a block
HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
NO_TEXT = re.compile(rb"<(script|style|noscript|!--)")
ENDS = {b"script": b"</script>", b"style": b"</style>", b"noscript": b"</noscript>", b"!--": b"-->"}
# A tag of a serialised tree, where attributes are in double quotes; possessive, so that no page makes it slow.
# Groups are neither atomic nor possessive: Python 3.11.2 (Debian 12) loses text in such groups (gh-101955).
TAGS = re.compile(r'<(/?)([^\s>/]++)([^>"]*+(?:"[^"]*+"[^>"]*+)*)>')
# The parser compares each attribute of a tag with all before it, which is quadratic.
LONG = 1 << 14  # bytes
LONG_TAG = re.compile(rb"(?<![^>])[^>]{%d,}+" % LONG)  # tried after each `>`, not from every byte
TAG_NAME = re.compile(rb"<[a-zA-Z][^\s/<>]*")
MOST_ATTRIBUTES = 1000
# It also opens formatting elements that are never closed again in each element that follows, which is quadratic too.
FORMATTING = re.compile(rb"<(/?)(a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])", re.I)
MOST_UNCLOSED, LARGE = 500, 1 << 16  # elements of one name; bytes of a page for which they are counted
HINTING = re.compile(r' (class|id|role|style|hidden|aria-hidden|itemprop)="([^"]*)"')
# Scripts with few or no spaces.
WIDE = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

NEUTRAL, LIGHT, WEAK, STRONG, BODY, HIDDEN = range(6)  # LIGHT is WEAK where there are links or no prose
# Words at the start of a part of a name: `post-comments`, `relatedLinks`, `nav_main`.
STRONG_WORDS = (
    "comment disqus respond replies sidebar sidecol rightcol rightrail rail footer nav navigation navbar menu "
    "breadcrumb cookie consent gdpr newsletter subscribe subscription signup login paywall popup modal overlay "
    "lightbox advert ads adsense banner sponsor promo promos promotion outbrain taboola pagination pager sharing "
    "sharebar addthis livefyre masthead skip hidden invisible screenreader sitemap copyright legal"
).split()
WEAK_WORDS = (
    "share social related recommend recommended recirc popular trending mostread mostpopular latest more "
    "morefrom also next prev previous widget toolbar tools utility tags tag taglist keywords categories byline "
    "author bio authors dateline timestamp published date meta metadata credit credits caption captions rating rate "
    "vote print email follow facebook topics promotional inset pullquote "
    "gallery carousel thumbnail thumb toc references reflist catlinks "
    "infobox navbox aside poll quiz shop buy price disclaimer correction"
).split()
LIGHT_WORDS = "header hd teaser module".split()  # what introduces a part of the page, or the article itself
# Names that say how a part is laid out, or on which screens it is shown.
LAYOUT = re.compile(
    r"overflow-?[xy]?-?hidden|hidden-?(?:xs|sm|md|lg|xl|xxl|print|phone|mobile|tablet|desktop)\b.*", re.I
)
BODY_NAMES = re.compile(
    r"article-?_?(?:body|text|content|copy)|(?:story|entry|post|blog|page|main|single)-?_?(?:body|text|content|copy)|"
    r"\bh-?entry\b|body-?copy|articlebody|storytext|\bhentry\b|mw-parser-output|markdown-body|field-name-body",
    re.I,
)
PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_STRONG, _WEAK, _LIGHT = frozenset(STRONG_WORDS), frozenset(WEAK_WORDS), frozenset(LIGHT_WORDS)
TAG_HINTS = {"nav": STRONG, "footer": STRONG, "aside": STRONG, "form": STRONG, "menu": STRONG, "header": LIGHT,
             "figcaption": STRONG, "figure": WEAK, "caption": WEAK, "address": WEAK, "details": WEAK}  # fmt: skip
ROLE_HINTS = {"navigation": STRONG, "banner": STRONG, "contentinfo": STRONG, "complementary": STRONG, "search": STRONG,
              "dialog": STRONG, "menu": STRONG, "menubar": STRONG, "alert": STRONG}  # fmt: skip
MEMO, MEMO_LENGTH = 100_000, 128  # maximum entries; maximum characters of attributes
_hints: dict[str, int] = {}  # of names
_attributes: dict[str, int] = {}


@dataclass(slots=True)
class Block:
    """A run of text; `size` counts characters (those of scripts without spaces thrice), `links` those inside links."""

    text: str
    tag: str  # of the element that directly contains it
    container: int  # place in Page.parents
    size: int
    links: int


@dataclass(slots=True)
class Page:
    """Blocks in reading order, and the tree of block-level elements around them (parents come before children)."""

    blocks: list[Block] = field(default_factory=list)
    parents: list[int] = field(default_factory=lambda: [-1])
    hints: list[int] = field(default_factory=lambda: [NEUTRAL])
    tags: list[str] = field(default_factory=lambda: ["html"])


def read_page(html: str) -> Page:
    """Parse a page; broken markup is repaired as browsers do, and raises no error."""
    data = _without_scripts(html.encode("utf-8", "replace"))
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord(">"))
    if np.diff(ends, prepend=-1, append=len(data)).max() > LONG:
        data = LONG_TAG.sub(_without_attributes, data)
    text = _without_unclosed(data).decode("utf-8", "replace")
    body = HTMLTree.parse(text).body
    return _blocks(body.html) if body is not None else Page()


def _without_scripts(html: bytes) -> bytes:
    """The page without most of the elements that hold no text. One pass; it takes a third of the time of parsing.

    Other spellings (`<SCRIPT`, a comment that never ends) are left to the parser.
    """
    parts, position, endless = [], 0, set()
    opening = NO_TEXT.search(html)
    while opening:
        kind = opening[1]
        end = -1 if kind in endless else html.find(ENDS[kind], opening.end())
        if end < 0:
            endless.add(kind)
            opening = NO_TEXT.search(html, opening.end())
            continue
        parts.append(html[position : opening.start()])
        position = end + len(ENDS[kind])
        opening = NO_TEXT.search(html, position)
    parts.append(html[position:])
    return b" ".join(parts)


def _without_attributes(found: re.Match[bytes]) -> bytes:
    """The text between two `>`; a tag with more than MOST_ATTRIBUTES attributes loses them."""
    tag = TAG_NAME.search(found[0])
    if tag and len(re.findall(rb"[\s/]+", found[0][tag.end() :])) > MOST_ATTRIBUTES:
        return found[0][: tag.end()]
    return found[0]


def _without_unclosed(html: bytes) -> bytes:
    """The page without the tags of those formatting elements that are opened far more often than closed."""
    if len(html) < LARGE:
        return html
    unclosed: Counter[bytes] = Counter()
    for closing, name in FORMATTING.findall(html):
        unclosed[name.lower()] += -1 if closing else 1
    names = [name for name, count in sorted(unclosed.items()) if count > MOST_UNCLOSED]
    return re.sub(rb"<(/?)(?:%s)(?=[\s/>])[^<>]*>?" % b"|".join(names), b"", html, flags=re.I) if names else html


def _blocks(html: str) -> Page:
    """The page of a serialised tree.

    The current text is in `pieces` until the tag of a block ends it. Scripts were cut out before or are skipped here.
    """
    page = Page()
    parents, hints, tags = page.parents, page.hints, page.tags
    pieces: list[str] = []
    linked = skipped = preformatted = 0  # characters in links; open tags inside a skipped element; open <pre>
    skipping = ""  # name of the element that is skipped with its content
    in_link = False
    container, tag = 0, "html"
    parts = iter(TAGS.split(html))  # text, then (closing, name, attributes, text) repeated
    next(parts)
    for closing, name, attributes, text in zip(parts, parts, parts, parts, strict=True):
        if skipping:
            if name == skipping:
                skipped += -1 if closing else 1
                if skipped == 0:
                    skipping = ""
            if skipping:
                continue
        elif name not in UNDIVIDING:
            if pieces:
                _flush(page, pieces, container, tag, linked, preformatted)
                linked = 0
            if closing:
                preformatted -= name == "pre"
                container = parents[container] if container else 0
                tag = tags[container]
            elif name not in VOID:
                hint = _attributes.get(attributes, -1)
                if hint < 0:
                    hint = _hint_of_attributes(attributes)
                if name in TAG_HINTS and TAG_HINTS[name] > hint:
                    hint = TAG_HINTS[name]
                if hint == HIDDEN:
                    skipping, skipped = name, 1
                    continue
                preformatted += name == "pre"
                parents.append(container)
                hints.append(hint)
                tags.append(name)
                container, tag = len(parents) - 1, name
        elif name == "a":
            in_link = not closing and 'href="' in attributes and 'href="#' not in attributes
        elif name == "br":
            pieces.append("\n")
        elif name in DROPPED and not closing and name not in VOID:
            skipping, skipped = name, 1
            continue
        if text and (pieces or not text.isspace()):
            pieces.append(text)
            if in_link:
                linked += len(text)
    if pieces:
        _flush(page, pieces, container, tag, linked, preformatted)
    return page


def _flush(page: Page, pieces: list[str], container: int, tag: str, linked: int, preformatted: int) -> None:
    """End the current text as a block."""
    if preformatted:
        text = "".join(pieces).strip("\n").rstrip()
    elif len(pieces) == 1:
        text = " ".join(pieces[0].split())
    elif "\n" in pieces:  # only the line breaks of <br> count
        lines = "".join("\x00" if piece == "\n" else piece for piece in pieces).split("\x00")
        text = "\n".join(" ".join(line.split()) for line in lines).strip()
    else:
        text = " ".join("".join(pieces).split())
    if text:
        if "&" in text:
            text = unescape(text)
        size = len(text)
        if not text.isascii():
            size += 2 * len(WIDE.findall(text))
        page.blocks.append(Block(text, tag, container, size, min(linked, size)))
    pieces.clear()


def _hint_of_attributes(attributes: str) -> int:
    """What an element's attributes, as the serialised tree writes them, say about it; cached, because pages repeat
    them."""
    hint = _read_attributes(attributes)
    if len(attributes) < MEMO_LENGTH:
        if len(_attributes) >= MEMO:
            _attributes.clear()
        _attributes[attributes] = hint
    return hint


def _read_attributes(attributes: str) -> int:
    hint = NEUTRAL
    for name, value in HINTING.findall(attributes):
        if name == "class" or name == "id":
            for names in value.split():
                known = _hints.get(names)
                if known is None:
                    if len(_hints) >= MEMO:
                        _hints.clear()
                    known = _hints[names] = _hint_of_names(names)
                if known > hint:
                    hint = known
        elif name == "style":
            if "none" in value and "display:none" in value.replace(" ", "").lower():
                return HIDDEN
        elif name == "hidden" or (name == "aria-hidden" and value == "true"):
            return HIDDEN
        elif name == "role":
            hint = max(hint, ROLE_HINTS.get(value, NEUTRAL))
        elif name == "itemprop" and value == "articleBody":
            hint = BODY
    return hint


def _hint_of_names(names: str) -> int:
    lower = names.lower()
    if ("body" in lower or "text" in lower or "content" in lower or "copy" in lower or "entry" in lower
            or "output" in lower) and BODY_NAMES.search(names):  # fmt: skip
        return BODY
    parts = PARTS.findall(lower) if lower == names else [part.lower() for part in PARTS.findall(names)]
    if not _STRONG.isdisjoint(parts):
        return NEUTRAL if LAYOUT.fullmatch(names) else STRONG
    if not _WEAK.isdisjoint(parts):
        return WEAK
    return NEUTRAL if _LIGHT.isdisjoint(parts) else LIGHT
