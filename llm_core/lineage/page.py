"""A lineage answer as Markdown tables, and as one self-contained HTML page, light and dark, printable."""

import html
import re
from pathlib import Path
from typing import Any

from llm_core.formats.pages import cell_text
from llm_core.runtime.storage import output_file

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
p, li, h1 { overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
.number { text-align: right; white-space: nowrap; }
@media print { .wide { overflow: visible; } td { overflow-wrap: anywhere; } }
@media screen and (max-width: 40rem) { table { font-size: .8rem; } th, td { padding-right: .45rem; } }
"""


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; numbers are aligned right, text of data is plain text. Empty for no rows."""
    if not rows:
        return ""
    names = list(rows[0])
    numeric = [all(isinstance(row[name], int | float | None) for row in rows) for name in names]
    lines = [
        "| " + " | ".join(map(cell_text, names)) + " |",
        "|" + "|".join("---:" if n else "---" for n in numeric) + "|",
    ]
    for row in rows:
        cells = [
            f"{value:,.6g}" if isinstance(value, float) else cell_text(str("" if value is None else value))
            for value in row.values()
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def html_page(markdown: str) -> str:
    """Markdown of headings, paragraphs, lists and tables (what this room writes) as a page."""
    body, title = [], "lineage"
    for block in markdown.strip().split("\n\n"):
        lines = block.splitlines()
        if block.startswith("#"):
            level = len(block) - len(block.lstrip("#"))
            title = block.lstrip("# ") if level == 1 else title
            body.append(f"<h{level}>{html.escape(block.lstrip('# '))}</h{level}>")
        elif block.startswith("|"):
            body.append(_table(lines))
        elif all(line.startswith("- ") for line in lines):
            body.append("<ul>" + "".join(f"<li>{html.escape(line[2:])}</li>" for line in lines) + "</ul>")
        else:
            body.append(f"<p>{html.escape(block)}</p>")
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return f'<!doctype html>\n<html lang="en">\n{head}\n<style>{STYLE}</style>\n' + "\n".join(body) + "\n</html>\n"


def write_page(out: Path, markdown: str) -> None:
    """Write `markdown` as a page where `out` ends in .html, else as it is."""
    with output_file(out) as stream:
        stream.write(html_page(markdown) if out.suffix == ".html" else markdown)


def _table(lines: list[str]) -> str:
    head, marks, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    kinds = [' class="number"' if mark.endswith(":") else "" for mark in marks]

    def cells(row: list[str], tag: str) -> str:
        return "".join(f"<{tag}{kind}>{_breakable(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=False))

    inner = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells(head, "th")}</tr></thead><tbody>{inner}</tbody></table></div>'


def _breakable(text: str) -> str:
    """`text` escaped; a long path or dotted name may break behind its separators, a word or a number never within."""
    text = html.unescape(text)
    escaped = html.escape(text)
    return re.sub(r"([./_])(?=[^\W\d])", r"\1<wbr>", escaped) if len(text) > 24 else escaped
