"""Lines of two editions are paired by what spelling leaves alone; a play is on one side."""

import json

import pytest

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.params.finetuning import Data
from llm_core.training.finetuning.data.editions import Line, align, rows_of_editions, skeleton

FOLIO = [
    "  Ham. Whether 'tis Nobler in the minde to suffer",
    "The Slings and Arrowes of outragious Fortune,",
    "Exeunt.",
    "I loue thee",
    "Or to take Armes against a Sea of troubles,",
    "A line that is in this edition alone, sir",
]
MODERN = [
    "Whether 'tis nobler in the mind to suffer",
    "The slings and arrows of outrageous fortune",
    "Or to take up arms against the sea of troubles,",
    "Another one that has no twin anywhere",
]


def lines(texts, document):
    return [Line(text, skeleton(text), document, document, "train") for text in texts]


def test_lines_are_paired_from_anchors_onwards_as_long_as_they_are_alike():
    old, new = ["A river anchors this", "To take Armes against a Sea", "vnlike in all"], [
        "A riuer anchores this", "to take up arms against the sea", "nothing of it"]  # fmt: skip
    found = [(one.text, other.text) for one, other in align(lines(old, "a"), lines(new, "b"))]
    assert found == [(old[0], new[0]), (old[1], new[1])]


def test_a_repeated_line_is_no_anchor_and_a_pair_does_not_cross_documents():
    twice = ["Good morrow gentle sirs"] * 2
    assert align(lines(twice, "a"), lines(twice, "b")) == []
    old = [*lines(["A river anchors this"], "a"), *lines(["Good morrow gentle sirs"], "c")]
    new = [*lines(["A river anchors this"], "b"), *lines(["Good morrow gentle sir"], "b")]
    assert len(align(old, new)) == 1


def editions(folder, plays, editions=("First Folio", "modern")):
    for side in ("train", "heldout"):
        with DocumentWriter(folder / side / "documents") as writer:
            for play in plays if side == "train" else plays[:1]:
                for edition, texts in zip(("First Folio", "modern"), (FOLIO, MODERN), strict=True):
                    named = "\n".join(f"{text} {play} {side}" if len(text) > 12 else text for text in texts)
                    about = {"work": f"{play}{edition[:1]}", "edition": edition}
                    if edition in editions:
                        row = {"id": f"{side}-{play}-{edition}", "source": "s", "text": named}
                        writer.write_rows([{**row, "metadata": json.dumps(about)}])
    return folder


def test_rows_of_two_editions_are_split_by_play(tmp_path):
    plays = [f"play{'bcdfghklmn'[at]}" for at in range(10)]
    data = Data(heldout_share=0.3, test_share=0.3)
    split, counts = rows_of_editions(editions(tmp_path, plays), data)
    works = {side: {row["work"] for row in rows} for side, rows in split.items()}
    assert sum(map(len, works.values())) == len(set.union(*works.values())) == 10
    assert {side: counts[f"{side}_works"] for side in works} == {side: len(found) for side, found in works.items()}
    row = next(row for row in split["train"] if "laue" in row["source"] or "Whether" in row["source"])
    assert row["source"].startswith("Whether 'tis Nobler in the minde")  # without the speaker
    assert row["target"].startswith("Whether 'tis nobler in the mind")
    assert [one.split("-")[-1] for one in row["documents"]] == ["First Folio", "modern"]
    assert counts["pairs"] + counts["lines_without_a_pair"] == 4 * 11  # four long lines a document of the Folio
    assert counts["test_rows_read_in_pretraining"] <= len(split["test"])


def test_a_corpus_without_both_editions_is_refused_with_what_helps(tmp_path):
    editions(tmp_path, ["playb"], editions=("modern",))
    with pytest.raises(UserError, match=r"`edition: First Folio`.*data\.path a file of rows source, target"):
        rows_of_editions(tmp_path, Data())
