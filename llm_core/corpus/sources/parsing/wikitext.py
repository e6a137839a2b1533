"""Wikitext to text by mwparserfromhell, after templates, tables, references and media were taken out in one pass.

The rule: templates, tables, `<ref>`, comments, and links into the namespaces of files and categories are dropped with
all that they contain; of other links the label stays, of headings and lists the text. Without the first pass a page of
a few hundred kilobytes of `{{a|` keeps the parser busy for hours, since it tries each opening mark to the end of the
page; in the pass every mark is looked at once.
"""

import re
from collections import Counter
from collections.abc import Iterable

MARKS = re.compile(
    r"(?P<template>\{\{)|(?P<table>^[ \t:]*\{\|)|(?P<link>\[\[)|(?P<comment><!--)"
    r"|(?P<alone><ref\b[^<>]*/>|__[A-Z]{3,}__)|(?P<ref><ref\b[^<>]*>)"
    r"|(?P<close>\}\}|^[ \t]*\|\}(?!\})|\]\]|-->|</ref\s*>)",
    re.IGNORECASE | re.MULTILINE,
)
CLOSES = {"}}": "template", "|}": "table", "]]": "link", "-->": "comment"}
MEDIA = ("File", "Image", "Media", "Category")  # names that every wiki understands, beside those in its language
NAME = re.compile(r"\s*([^\[\]{}|:<>\n]{1,100}?)\s*:")


def plain(text: str, namespaces: Iterable[str] = ()) -> str:
    """The text of a page. `namespaces` are the wiki's own names for those of files and categories."""
    import mwparserfromhell

    code = mwparserfromhell.parse(without_marked(text, namespaces), skip_style_tags=False)
    return str(code.strip_code(normalize=True, collapse=True)).strip()


def without_marked(text: str, namespaces: Iterable[str] = ()) -> str:
    """`text` without templates, tables, references, comments and media; of marks without a partner the mark goes.

    >>> without_marked("a {{b|{{c}}}} [[File:d|[[e]]]] [[f]]<ref>g</ref> {{h")
    'a   [[f]] h'
    """
    dropped = {name.lower() for name in (*MEDIA, *namespaces)}
    open_: list[tuple[str, int, int]] = []  # kind, or "media"; where its mark begins and ends
    waiting: Counter[str] = Counter()  # of each kind in `open_`
    spans: list[tuple[int, int]] = []  # to drop
    for mark in MARKS.finditer(text):
        kind = str(mark.lastgroup)
        if kind == "alone":
            spans.append(mark.span())
        elif kind == "link":
            name = NAME.match(text, mark.end())
            media = name is not None and name[1].lower() in dropped
            open_.append(("media" if media else "link", *mark.span()))
            waiting["link"] += 1
        elif kind != "close":
            open_.append((kind, *mark.span()))
            waiting[kind] += 1
        else:
            closed = CLOSES.get(mark[0].strip(), "ref")
            if not waiting[closed]:
                spans += [] if closed == "link" else [mark.span()]
                continue
            while True:  # those that were opened behind it and not closed are closed with it
                opened, begin, end = open_.pop()
                waiting["link" if opened == "media" else opened] -= 1
                if (opened in ("link", "media") and closed == "link") or opened == closed:
                    break
                spans += [] if opened == "link" else [(begin, end)]
            spans += [] if opened == "link" else [(begin, mark.end())]
    spans += [(begin, end) for kind, begin, end in open_ if kind not in ("link", "media")]
    kept, position = [], 0
    for begin, end in sorted(spans):
        if begin >= position:
            kept.append(text[position:begin])
        position = max(position, end)
    return "".join([*kept, text[position:]])
