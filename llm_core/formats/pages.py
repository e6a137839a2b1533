"""A page as blocks, written once and shown twice: as Markdown, and as one HTML file that needs no network.

Colours follow the reader's light or dark scheme and print in black on white; plots are inline SVG
drawn with `currentColor` and three hues that stay apart in both schemes.
"""

import html
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.runtime.storage import output_file
from llm_core.runtime.terminal import printable

Row = dict[str, Any]
STYLE = """
:root { color-scheme: light dark; --a: #1f6feb; --b: #c2410c; --c: #15803d;
  --soft: color-mix(in srgb, currentColor 18%, transparent); }
@media screen and (prefers-color-scheme: dark) { :root { --a: #79b8ff; --b: #fdba74; --c: #86efac; } }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1.25rem 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 1rem 0 .25rem; padding-top: .6rem; border-top: 1px solid var(--soft); }
h3 { font-size: 1rem; margin: .5rem 0 .25rem; }
nav { font-size: .85rem; margin: .25rem 0 1rem; }
nav a { color: var(--a); margin-right: .9rem; white-space: nowrap; }
.lead { display: grid; grid-template-columns: max-content 1fr; gap: .5rem 1.25rem; margin: .75rem 0; }
.lead dt { font-weight: 600; }
.lead dd { margin: 0; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 2rem;
  align-items: start; }
.pair > * { min-width: 0; }
.pair:has(details[open]) { grid-template-columns: 1fr; }
p, li, td { overflow-wrap: break-word; }
p { margin: .5rem 0; max-width: 56rem; }
ul { padding-left: 1.25rem; margin: .25rem 0; }
figcaption, .note { font-size: .85rem; opacity: .8; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--soft); }
th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
figure { margin: .5rem 0; }
svg { display: block; width: 100%; height: auto; max-width: 46rem; font: 12px system-ui, sans-serif; }
.pair svg { font-size: 16px; }
.key { display: inline-flex; align-items: center; gap: .35rem; margin-right: 1rem; font-size: .85rem; }
.key i { width: 1.2rem; height: 0; border-top: 3px solid; }
summary { cursor: pointer; margin: .3rem 0; }
details > details { margin-left: 1.25rem; }
@media screen and (max-width: 40rem) { svg, .pair svg { font-size: 18px; }
  .lead { grid-template-columns: 1fr; gap: .1rem; } .lead dd { margin-bottom: .6rem; }
  .stacked thead { display: none; }
  .stacked table, .stacked tbody, .stacked tr { display: block; }
  .stacked tr { border-bottom: 1px solid var(--soft); padding: .5rem 0; }
  .stacked td { overflow-wrap: anywhere; }
  .stacked td, .stacked td.number { display: flex; justify-content: space-between; gap: 1rem; border: 0;
    padding: .1rem 0; text-align: right; white-space: normal; }
  .stacked td::before { content: attr(data-label); opacity: .75; text-align: left; flex: none; }
  .stacked td:first-child { font-weight: 600; text-align: left; }
  .stacked td:first-child::before, .stacked td:empty { display: none; } }
@media print { :root { color-scheme: light; } body { max-width: none; font-size: 10pt; padding: 0; }
  th, td { padding-right: .5rem; font-size: 8pt; } th, th.number { white-space: normal; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; } .wide { overflow: visible; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""
BREAKS = re.compile(r"[^\S\u00a0\u202f]+")  # white space but no-break spaces
ENTITIES = {ord("\\"): "&#92;", ord("|"): "&#124;", ord("<"): "&lt;", ord("`"): "&#96;"}
LEAD = re.compile(  # what begins a heading, quote, list, rule, code or definition at the start of a line
    r"(?P<mark>[#>+=~]|[-*](?=\s|$)|\[(?=[^\]]*\]:)|[-*_](?=(?:\s*[-*_])+\s*$))|(?P<number>\d{1,9})[.)](?=\s|$)"
)
TAGS = {"title": "h1", "heading": "h2", "subheading": "h3"}
GROUPS = ("first", "pair", "column", "group")
COLOURS = ("var(--a)", "var(--b)", "var(--c)", "currentColor")


class Block(NamedTuple):
    """One block of a page: its kind, its content, and where it is folded or a figure its caption.

    title, heading, subheading, text, note: a text. lead: (name, value). table, folded: rows. figure: SVG. list: texts.
    first (seen first), pair (side by side), column, group (folded): blocks. contents: anything true; it becomes links
    to the headings.
    """

    kind: str
    content: Any
    caption: str = ""


def to_html(blocks: list[Block]) -> str:
    """The whole page."""
    title = next((str(block.content) for block in blocks if block.kind == "title"), "report")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>"
    )
    headings = [str(block.content) for block in blocks if block.kind == "heading"]
    body = "\n".join(_html(block, headings) for block in blocks)
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def to_markdown(blocks: list[Block]) -> str:
    """The same as Markdown; a figure is left out with its caption in place."""
    return "\n\n".join(text for text in map(_markdown, blocks) if text) + "\n"


def number(value: float | None, digits: int = 4) -> str:
    """So many significant digits, no exponent where it can be helped: `0.275`, `2,866`, `0`; "no number" for NaN."""
    if value is None or not math.isfinite(value):
        return "no number"
    if value == 0 or abs(value) < 1e-9:
        return "0"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.{digits}g}"


def with_ends(value: float | None, low: float | None, high: float | None, digits: int = 3) -> tuple[str, str, str]:
    """A value and the ends of its interval with the same number of decimals: as many as show so many significant
    digits of the interval's width.

    >>> with_ends(1.0, 0.92, 1.08, 2), with_ends(0.275, 0.21812, 0.341), with_ends(31.25, 1.0, None)
    (('1.00', '0.92', '1.08'), ('0.275', '0.218', '0.341'), ('31.25', '1', 'no number'))
    """
    known = [one for one in (value, low, high) if one is not None and math.isfinite(one)]
    width = max(known) - min(known) if len(known) == 3 else 0.0
    if width < 1e-9 or max(map(abs, known)) >= 1e6:
        return number(value), number(low), number(high)
    decimals = max(digits - 1 - math.floor(math.log10(width)), 0)
    first, *ends = (f"{one:z,.{decimals}f}" for one in known)
    return first, ends[0], ends[1]


def score_text(score: Mapping[str, Any], metric: str) -> str:
    """`0.275 [0.218, 0.341]`: never a score alone. Items that are all alike, or a single one, have no error."""
    value, low, high = (score.get(f"{metric}{part}") for part in ("", "_low", "_high"))
    if value is None or not math.isfinite(value):
        return "no number"
    error = score.get(f"{metric}_stderr")
    if low is not None and high is not None and low < high:
        shown = with_ends(value, low, high)
        return f"{shown[0]}\u00a0[{shown[1]},\u00a0{shown[2]}]"
    return number(value) + (
        f"\u00a0±\u00a0{number(error, 2)}" if error and math.isfinite(error) else " (error unknown)"
    )


def begun(text: str, letters: int) -> str:
    """The beginning of a text in so many letters, with an ellipsis where it goes on.

    >>> begun("presidential_addresses", 16), begun("web", 16), begun("near duplicates of a page", 16)
    ('presidential_ad…', 'web', 'near duplicates…')
    """
    return text if len(text) <= letters else f"{text[: max(letters - 1, 0)].rstrip()}…"


def ended(text: str, letters: int) -> str:
    """The end of a text in so many letters, with an ellipsis where it began before.

    >>> ended("Which town is the capital of France?", 12)
    '…of France?'
    """
    return text if len(text) <= letters else f"…{text[len(text) - max(letters - 1, 0) :].lstrip()}"


def show(value: Any) -> str:
    """A cell as text: thousands apart, four significant digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    return str(value)


def _html(block: Block, headings: Sequence[str] = ()) -> str:
    kind, content, caption = block
    if kind in TAGS:
        place = f' id="{_anchor(content, headings)}"' if content in headings and kind == "heading" else ""
        return f"<{TAGS[kind]}{place}>{html.escape(content)}</{TAGS[kind]}>"
    if not content:
        return ""
    if kind in GROUPS:
        inner = "\n".join(_html(child, headings) for child in content)
        if kind == "group":
            return f"<details><summary>{html.escape(caption)}</summary>{inner}</details>"
        return f'<header id="first">{inner}</header>' if kind == "first" else f'<div class="{kind}">{inner}</div>'
    if kind == "contents":
        links = (f'<a href="#{_anchor(name, headings)}">{html.escape(name)}</a>' for name in headings)
        return f"<nav>{' '.join(links)}</nav>"
    if kind == "lead":
        rows = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in content)
        return f'<dl class="lead">{"".join(rows)}</dl>'
    if kind in ("text", "note"):
        return f'<p class="{kind}">{html.escape(content)}</p>'
    if kind == "list":
        return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in content) + "</ul>"
    if kind == "figure":
        return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"
    if kind == "folded":
        return f"<details><summary>{html.escape(caption)}</summary>{_html_table(content)}</details>"
    return _html_table(content)


def _anchor(heading: str, headings: Sequence[str]) -> str:
    return f"section-{headings.index(heading) + 1}"


def _filled(rows: list[Row]) -> list[str]:
    """Names of the columns in which some row has a value."""
    return [name for name in rows[0] if any(row[name] is not None for row in rows)]


def _html_table(rows: list[Row]) -> str:
    if not rows:
        return ""
    names = _filled(rows)
    numeric = {name for name in names if all(isinstance(row[name], int | float | None) for row in rows)}

    def cell(tag: str, name: str, value: Any) -> str:
        kind = ' class="number"' if name in numeric else ""
        label = f' data-label="{html.escape(name)}"' if tag == "td" else ""
        return f"<{tag}{kind}{label}>{_breakable(show(value))}</{tag}>"

    head = "".join(cell("th", name, name) for name in names)
    body = "".join("<tr>" + "".join(cell("td", name, row[name]) for name in names) + "</tr>" for row in rows)
    wide = "wide stacked" if len(names) > 2 else "wide"  # on a phone each row becomes a list of its cells
    return f'<div class="{wide}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _markdown(block: Block) -> str:
    kind, content, caption = block
    if kind in TAGS:
        return "#" * int(TAGS[kind][1]) + " " + cell_text(str(content))
    if kind in GROUPS:
        inner = "\n\n".join(text for text in map(_markdown, content) if text)
        return f"{cell_text(caption)}:\n\n{inner}" if kind == "group" and inner else inner
    if kind == "contents":
        return ""
    if kind == "lead":
        return "\n".join(f"- **{cell_text(name)}** {cell_text(value)}" for name, value in content)
    if kind in ("text", "note"):
        return cell_text(str(content))
    if kind == "list":
        return "\n".join(f"- {cell_text(item)}" for item in content)
    if kind == "figure":
        return f"*{cell_text(caption)} (plot in the HTML page)*"
    if not content:
        return ""
    names = _filled(content)
    numeric = [all(isinstance(row[name], int | float | None) for row in content) for name in names]
    lines = [f"{cell_text(caption)}:", ""] if kind == "folded" else []
    lines += [
        "| " + " | ".join(map(cell_text, names)) + " |",
        "|" + "|".join("---:" if n else "---" for n in numeric) + "|",
    ]
    lines += ["| " + " | ".join(cell_text(show(row[name])) for name in names) + " |" for row in content]
    return "\n".join(lines)


def cell_text(text: str) -> str:
    """Text from data as plain Markdown: one line that adds no heading, image, link, list, tag, code or column.

    Control characters, which could command a terminal or reorder the line, are shown as escapes.

    >>> cell_text("# a | ![b](c) <d>")
    '&#35; a &#124; !&#91;b]&#40;c) &lt;d>'
    >>> cell_text("1. # a"), cell_text("-0.5")
    ('1&#46; # a', '-0.5')
    """
    text = printable(BREAKS.sub(" ", text).strip(" ")).translate(ENTITIES)
    text = text.replace("](", "]&#40;").replace("![", "!&#91;")
    lead = LEAD.match(text)
    if not lead:
        return text
    start = len(lead["number"] or "")
    return f"{text[:start]}&#{ord(text[start])};{text[start + 1 :]}"


def write_page(out: Path, blocks: list[Block]) -> None:
    """Write `blocks` as an HTML page where `out` ends in .html, else as Markdown."""
    with output_file(out) as stream:
        stream.write(to_html(blocks) if out.suffix == ".html" else to_markdown(blocks))


def _breakable(text: str) -> str:
    """`text` escaped; a long path or dotted name may break behind its separators, a word or a number never within."""
    escaped = html.escape(text)
    return re.sub(r"([./_])(?=[^\W\d])", r"\1<wbr>", escaped) if len(text) > 24 else escaped
