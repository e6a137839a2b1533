"""Rows from the Factbook: countries stay on one side, wrong answers are wrong, answers are short."""

import json
from types import SimpleNamespace

import pytest

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.models.precision import multiplies_bfloat16
from llm_core.params.finetuning import Data, Training
from llm_core.training.finetuning import rows
from llm_core.training.finetuning.data import factbook
from llm_core.training.finetuning.data.stage import from_documents, from_factbook
from llm_core.training.finetuning.methods import regression
from llm_core.training.finetuning.models import resolve_precision
from llm_core.training.finetuning.registry import methods


def documents(folder, sides):
    for side, countries in sides.items():
        with DocumentWriter(folder / side / "documents") as writer:
            for number, name in enumerate(countries):
                fields = {
                    "Capital - name": f"<b>City {name}</b> (old name)",
                    "Suffrage": "18 years of age; universal",
                    "Terrain": "high plateaus in the south and plains towards the northern coast",
                }
                metadata = json.dumps({"country": name, "section": "Geography", "fields": fields})
                row = {"id": f"{side}{number}", "source": "factbook", "text": "x", "metadata": metadata}
                writer.write_rows([row])
    return folder


def test_test_countries_are_those_held_out_of_pretraining(tmp_path):
    documents(tmp_path, {"train": ["Chad", "Mali", "Peru", "Both"], "heldout": ["Fiji", "Both"]})
    countries = factbook.read_countries(tmp_path)
    sides = factbook.split_countries(countries, heldout_share=0.1, test_share=0.5)
    assert [name for name, side in sides.items() if side == "test"] == ["Fiji"]


def test_documents_without_fields_are_refused_with_the_knob_that_helps(tmp_path):
    for side in ("train", "heldout"):
        with DocumentWriter(tmp_path / side / "documents") as writer:
            writer.write_rows([{"id": side, "source": "reports", "text": "a report"}])
    with pytest.raises(UserError, match=r"no document of source 'factbook'.*finetuning\.runs\.NAME\.data\.path name a"):
        factbook.read_countries(tmp_path)
    with pytest.raises(
        UserError, match=r"data\.group 'author' names a column of a data set, and .* is a `split` folder"
    ):
        from_documents("instruction", str(tmp_path), Data(group="author"), seed=1)


def test_questions_and_pairs_come_from_the_fields(tmp_path):
    documents(tmp_path, {"train": ["Chad", "Mali"], "heldout": ["Fiji", "Cuba"]})
    countries = factbook.read_countries(tmp_path)
    sides = {"Chad": "train", "Mali": "train", "Fiji": "test", "Cuba": "test"}
    items = factbook.questions(countries, open_variants=1, seed=1)
    facts = {(row["prompt"].splitlines()[-1], row["answer"], row["kind"]) for row in items["Chad"]}
    assert facts == {
        ("What is the capital of Chad?", "City Chad", "closed"),
        ("What is the capital of Chad?", "City Chad", "open"),
        ("Who may vote in Chad?", "18 years of age", "closed"),
        ("Who may vote in Chad?", "18 years of age", "open"),
    }
    opened = next(row for row in items["Chad"] if row["kind"] == "open" and row["field"] == "Capital - name")
    assert "Capital: City Chad." in opened["prompt"]
    pairs = factbook.preference(items, sides, seed=1)
    # all share one answer on suffrage, so only the capitals have a wrong answer; it is of the same side
    assert {(row["chosen"], row["rejected"]) for row in pairs["train"]} == {
        ("City Chad", "City Mali"),
        ("City Mali", "City Chad"),
    }
    assert {row["rejected"] for row in pairs["test"]} == {"City Fiji", "City Cuba"}


def test_each_row_names_the_documents_that_it_was_made_from(tmp_path):
    documents(tmp_path, {"train": ["Chad", "Mali"], "heldout": ["Fiji"]})
    with DocumentWriter(tmp_path / "train2" / "documents") as writer:  # a second document about Chad, read last
        more = {"Languages": "French", "Coastline": "0 km"}
        metadata = json.dumps({"country": "Chad", "section": "People", "fields": more})
        writer.write_rows([{"id": "people", "source": "factbook", "text": "x", "metadata": metadata}])
    (tmp_path / "train2/documents/00000.parquet").rename(tmp_path / "train/documents/00001.parquet")
    countries = factbook.read_countries(tmp_path)
    sides = {"Chad": "train", "Mali": "train", "Fiji": "test"}
    items = factbook.questions(countries, open_variants=1, seed=1)
    of = {(row["field"], row["kind"]): row["documents"] for row in items["Chad"]}
    assert of["Capital - name", "closed"] == ["train0"]
    assert of["Languages", "closed"] == ["people"]
    assert of["Languages", "open"] == ["people", "train0"]  # all four facts are shown: from both documents
    (pair,) = [
        row
        for row in factbook.preference(items, sides, seed=1)["train"]
        if row["chosen"] == "City Mali" and row["kind"] == "closed"
    ]
    assert pair["documents"] == ["train0", "train1"]  # of the right answer and of the wrong one
    split = methods()["instruction"].default_rows(factbook.Facts(countries, sides, items, 1))
    rows.write_rows(tmp_path, split)
    listing = json.loads((tmp_path / rows.DOCUMENTS).read_text())
    assert listing["train"]["people"] == [row["id"] for row in split["train"] if "people" in row["documents"]]
    assert set(listing["test"]) == {"heldout0"}


def test_conversations_ask_for_each_fact_that_they_show_and_only_in_training(tmp_path):
    documents(tmp_path, {"train": ["Chad"], "heldout": ["Fiji"]})
    countries = factbook.read_countries(tmp_path)
    sides = {"Chad": "train", "Fiji": "test"}
    items = factbook.questions(countries, open_variants=2, seed=1)
    made = factbook.conversations(countries, 3, seed=1)
    split = methods()["instruction"].default_rows(factbook.Facts(countries, sides, items, 1, made))
    assert [row["kind"] for row in split["train"]] == ["closed"] * 2 + ["conversation"] * 3
    assert {row["kind"] for row in split["test"]} == {"closed", "open"} and len(split["test"]) == 6
    for row in split["train"][2:]:
        asked, answers = ([turn["content"] for turn in row["messages"][place::2]] for place in (0, 1))
        assert sorted(asked[0].splitlines()[:2]) == ["Capital: City Chad.", "Suffrage: 18 years of age."]
        told = {"What is the capital of Chad?": "City Chad", "Who may vote in Chad?": "18 years of age"}
        assert dict(zip([asked[0].splitlines()[2], asked[1]], answers, strict=True)) == told
        assert row["documents"] == ["train0"] and not row.keys() & {"answer", "field"}
    assert len({row["id"] for row in split["train"]}) == 5


def test_exchanged_values_are_drawn_from_all_countries_and_are_asked_for_as_they_are_shown(tmp_path):
    """A country's own answer can be drawn, and crossed again to what it was: these values must be read all the same."""
    names = ["Chad", "Mali", "Peru"]
    documents(tmp_path, {"train": names, "heldout": ["Fiji"]})
    countries = [country for country in factbook.read_countries(tmp_path) if country.name in names]
    drawn, own = set(), 0
    crossings = {factbook.crossed(f"City {one}", f"City {two}") for one in names for two in names}
    assert factbook.crossed("City Chad", "City Mali") == "City Mali"
    for name, items in factbook.conversations(countries, 8, seed=1, exchanged=1.0).items():
        for item in items:
            lines = item["turns"][0][0].splitlines()[:-1]
            told = {field: answer for _, answer, field in item["turns"]}
            assert sorted(lines) == [f"Capital: {told['Capital - name']}.", f"Suffrage: {told['Suffrage']}."]
            assert told["Suffrage"] == "18 years of age", "all countries share it, so it is taken as it is"
            assert set(item["documents"]) <= {"train0", "train1", "train2"} and item["documents"]
            assert told["Capital - name"] in crossings
            drawn.add(told["Capital - name"])
            own += told["Capital - name"] == f"City {name}"
    assert drawn == crossings and 0 < own < 24 / 2, "true ones are few, but there are some"
    half = factbook.conversations(countries, 40, seed=1, exchanged=0.5)
    kept = [item for name, rows in half.items() for item in rows if ("City " + name) in item["turns"][0][0]]
    assert 40 < len(kept) < 110, "about half of 120 are true, and some of the rest by chance"
    assert factbook.crossed("Oslo", "Lisbon") == "Osbon" and factbook.crossed("5 sq km", "Oslo") == "5 sq km"


def test_closed_questions_about_unseen_countries_cannot_be_answered(tmp_path):
    documents(tmp_path, {"train": ["Chad"], "heldout": ["Fiji"]})
    countries = factbook.read_countries(tmp_path)
    items = factbook.questions(countries, 1, seed=1)
    split = methods()["instruction"].default_rows(
        factbook.Facts(countries, {"Chad": "train", "Fiji": "test"}, items, 1)
    )
    assert {(row["kind"], row.get("answerable", True)) for row in split["test"]} == {("closed", False), ("open", True)}
    assert all(row.get("answerable", True) for row in split["train"])


def test_answers_are_one_short_clause():
    assert factbook.short_answer("58 km (2020); more") == "58 km"
    assert factbook.short_answer(".fr") == ".fr"
    assert factbook.short_answer("x" * 60) is None
    assert [factbook.short_answer(name) for name in ("Nairobi", "Nauruan")] == ["Nairobi", "Nauruan"]
    assert {factbook.short_answer(none) for none in ("NA", "N/A", "NA sq km", "none; see note", "None")} == {None}


def test_the_baseline_is_each_fields_most_frequent_training_answer():
    given = [{"field": "f", "answer": answer} for answer in ("yes", "no", "no")] + [{"field": "g", "answer": "1"}]
    assert factbook.most_frequent_answers(given) == {"f": "no", "g": "1"}


def test_the_default_rows_of_labels_and_scores_follow_from_the_fields(tmp_path):
    with DocumentWriter(tmp_path / "train" / "documents") as writer:
        for section, fields in {
            "Geography": {
                "Geographic coordinates": "12 30 S, 96 50 E",
                "Climate": "tropical with high humidity, moderated by the southeast trade winds",
            },
            "Environment": {"Issues": "fresh water resources are limited to rainwater in natural reservoirs"},
        }.items():
            metadata = json.dumps({"country": "Cocos", "section": section, "fields": fields})
            writer.write_rows([{"id": section, "source": "factbook", "text": "x", "metadata": metadata}])
    documents(tmp_path, {"heldout": ["Fiji"]})
    countries = [one for one in factbook.read_countries(tmp_path) if one.name == "Cocos"]
    facts = factbook.Facts(countries, {"Cocos": "train"}, {}, 1)
    (scored,) = methods()["regression"].default_rows(facts)["train"]
    assert (scored["text"][:8], scored["score"], scored["documents"]) == ("tropical", 12.5, ["Geography"])
    for row in methods()["multi_label"].default_rows(facts)["train"]:
        found = {"Geography": "tropical" in row["text"], "Environment": "fresh water" in row["text"]}
        assert row["labels"] == sorted(name for name, there in found.items() if there) == row["documents"]


def test_default_pairs_count_the_facts_on_which_two_texts_agree(tmp_path):
    values = {name: str(number) for number, name in enumerate(factbook.QUESTIONS)}
    for side, countries in {"train": ["Chad", "Mali", "Peru"], "heldout": ["Fiji", "Cuba"]}.items():
        with DocumentWriter(tmp_path / side / "documents") as writer:
            for country in countries:
                fields = {name: f"{value} of {country[::-1]}" for name, value in values.items()} | {"Suffrage": "all"}
                metadata = json.dumps({"country": country, "section": "People", "fields": fields})
                writer.write_rows([{"id": country, "source": "factbook", "text": "x", "metadata": metadata}])
    split, _ = from_factbook("regression", str(tmp_path), Data(format="pair"), 1)
    rows = [row for side in split.values() for row in side]
    assert len(rows) == 5 * regression.PAIRS and {row["score"] for row in rows} == {0, 1, 2, 3, 4, 5}
    for row in rows:
        texts = [row[name].removesuffix(".").split(". ") for name in ("text", "text_pair")]
        names = [sorted(fact.split(":")[0] for fact in text) for text in texts]
        assert names[0] == names[1] and len(set(names[0])) == regression.PAIR_FACTS
        assert len(set(texts[0]) & set(texts[1])) == row["score"]
        assert row["country"][::-1] in row["text"] and row["country"] in row["documents"]
        named = {found for found in ("Chad", "Mali", "Peru", "Fiji", "Cuba") if found[::-1] in row["text_pair"]}
        assert named <= set(row["documents"])
    assert {row["country"] for row in split["test"]} == {"Fiji", "Cuba"}
    assert not {"Fiji", "Cuba"} & {name for row in split["train"] for name in row["documents"]}


def test_readers_that_copy_are_baselines_of_questions_with_facts():
    def row(field, prompt, answer):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        return {"field": field, "messages": turns}

    facts = "Area: 5 sq km.\nCapital: Oslo.\n"
    train = [row("capital", "?", "Rome"), row("area", "?", "5 sq km"), {"messages": row("", "?", "Kiev")["messages"]}]
    test = [
        row("capital", f"{facts}What is the capital of Norway?", "Oslo"),
        row("area", f"{facts}What is the total area of Norway?", "5 sq km"),
        row("area", "What is the total area of Norway?", "5 sq km"),
        row("capital", "What is the capital of Norway?", "Oslo"),
    ]
    job = SimpleNamespace(rows={"train": train, "test": test}, params=SimpleNamespace(scored_items=9), seed=1)
    found = methods()["instruction"].baseline(job)
    assert {name: score["mean"] for name, score in found.items()} == {
        "most_frequent_answer": 0.5,
        "first_fact": 0.5,
        "similar_fact": 0.75,
    }
    job.rows["test"] = test[2:]
    assert set(methods()["instruction"].baseline(job)) == {"most_frequent_answer"}


def test_the_automatic_precision_is_bfloat16_where_the_processor_multiplies_it():
    for asked, wanted in {"auto": multiplies_bfloat16(), "bfloat16": True, "float32": False}.items():
        assert (resolve_precision(Training(precision=asked)) == "bfloat16") == wanted
