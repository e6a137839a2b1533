"""Entities: layouts give the same rows, words find their tokens, figures are seqeval's, a tagger can be used."""

import json
from pathlib import Path

import pytest
import torch

from llm_core.errors import UserError
from llm_core.formats.row_files import read_file
from llm_core.params.finetuning import Data
from llm_core.training.finetuning.data import factbook
from llm_core.training.finetuning.data.dataset import convert, from_dataset
from llm_core.training.finetuning.data.entities import SCHEMES, entities, from_spans, misplaced, settle_scheme
from llm_core.training.finetuning.entity_metrics import entity_figures, label_table, unseen_recall
from llm_core.training.finetuning.methods.token_classification import default_rows
from llm_core.training.finetuning.tagging import encode, predict
from llm_core.training.finetuning.windows import encode_offsets, windows
from llm_core.training.finetuning.word_baselines import linear_tags, most_frequent_tags
from tests.llm_core.training.finetuning import tiny

TOKENS = ["Chad", "Niger", "and", "Costa", "Rica", "border", "Mali", "."]
TAGS = {  # the same entities: Chad, Niger, Costa Rica, Mali
    "iob1": ["I-PLACE", "B-PLACE", "O", "I-PLACE", "I-PLACE", "O", "I-PLACE", "O"],
    "iob2": ["B-PLACE", "B-PLACE", "O", "B-PLACE", "I-PLACE", "O", "B-PLACE", "O"],
    "iobes": ["S-PLACE", "S-PLACE", "O", "B-PLACE", "E-PLACE", "O", "S-PLACE", "O"],
    "bilou": ["U-PLACE", "U-PLACE", "O", "B-PLACE", "L-PLACE", "O", "U-PLACE", "O"],
}
RECORDED = Path(__file__).with_name("seqeval_1_2_2.json")
"""Tags, and what `classification_report` of seqeval 1.2.2 said of them, run from its source package."""


def conll(tags: list[str]) -> str:
    lines = [f"{token} NN {tag}" for token, tag in zip(TOKENS, tags, strict=True)]
    return "-DOCSTART- -X- O\n\n# a comment\n" + "\n".join(lines) + "\n\nhere\tthere\tO\n"


@pytest.mark.parametrize("scheme", TAGS)
def test_a_conll_file_of_every_scheme_gives_the_same_rows(scheme: str, tmp_path: Path) -> None:
    file = tmp_path / "some.conll"
    file.write_text(conll(TAGS[scheme]))
    (place, raw), (_, other) = read_file(file)
    assert place == f"{file}:4"
    assert other == {"tokens": ["here"], "tags": ["O"]}
    row = convert("token_classification", raw, Data())
    assert row["text"] == "Chad Niger and Costa Rica border Mali ."
    assert [row["text"][start:end] for start, end in row["words"]] == TOKENS
    assert row["tags"] == TAGS["iob2"]
    found = settle_scheme({"train": [row]})
    assert found == {"tag_scheme": "iobes" if scheme == "bilou" else scheme, "repaired_tags": 0}
    assert "misplaced" not in row


def test_an_invalid_sequence_is_repaired_and_counted(tmp_path: Path) -> None:
    assert misplaced(["O", "I-PLACE", "B-PLACE", "I-PEOPLE"]) == dict(zip(SCHEMES, (2, 4, 0), strict=True)) | {
        "iob1": 0
    }
    file = tmp_path / "some.bio"
    words = ["one two", "three four", "five six", "seven eight", "nine ten", "eleven twelve"] * 4
    tags = ["B-A I-A", "B-A B-A", "O I-A"]
    text = ""
    for at, line in enumerate(words):
        said = zip(line.split(), tags[at % 3].split(), strict=True)
        text += "".join(f"{word}{at}\t{tag}\n" for word, tag in said) + "\n"
    file.write_text(text)
    split, metrics = from_dataset("token_classification", str(file), Data(near_duplicate_similarity=1.0), 1)
    assert settle_scheme(split) == {"tag_scheme": "iob2", "repaired_tags": 8}
    assert (metrics["rows_in"], metrics["bad_rows"]) == (24, 0)
    assert {tuple(row["tags"]) for side in split.values() for row in side} == {
        ("B-A", "I-A"),
        ("B-A", "B-A"),
        ("O", "B-A"),
    }


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens and 1 tags"),
        ({"tokens": ["a"], "tags": ["PLACE"]}, "tag 'PLACE' is neither O nor a letter"),
        ({"tokens": ["a"], "tags": [3]}, "tag 3 is neither O nor"),
        ({"text": "In Chad", "entities": [{"start": 3, "end": 9, "label": "X"}]}, "not within the text's 7 characters"),
        ({"text": "In Chad", "entities": [{"start": 4, "end": 7, "label": "X"}]}, "begins or ends inside a word"),
        ({"text": "In Chad", "entities": [[0, 7, "X"], [3, 7, "Y"]]}, "overlap"),
        ({"text": "In Chad", "entities": [[2, 3, "X"]]}, "is blank"),
        ({"text": "In Chad", "entities": [[3, 7, " "]]}, "field 'label' is missing or empty"),
        ({"text": "In Chad", "entities": ["Chad"]}, "has no start, end and label"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(raw: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        convert("token_classification", raw, Data())


def test_spans_of_characters_become_tags_of_words() -> None:
    text = "Der Präsident von Côte d'Ivoire (東京 ist weit)."
    spans = [[18, 31, "PLACE"], {"start": 33, "end": 35, "label": "CITY"}]
    row = convert("token_classification", {"text": text, "entities": spans}, Data())
    found = {(label, text[row["words"][one][0] : row["words"][last][1]]) for label, one, last in entities(row["tags"])}
    assert found == {("PLACE", "Côte d'Ivoire"), ("CITY", "東京")}


def test_figures_are_seqevals() -> None:
    for case in json.loads(RECORDED.read_text()):
        report = case["report"]
        figures = entity_figures(case["truth"], case["decided"], seed=1)
        for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert figures[name]["value"] == pytest.approx(report["micro avg"][theirs], abs=1e-12)
            assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
        for line in label_table(case["truth"], case["decided"]):
            theirs = report[line["entity"]]
            assert line["entities"] == theirs["support"]
            assert line["f1"] == pytest.approx(theirs["f1-score"], abs=1e-12)


def test_figures_by_hand() -> None:
    truth = [["B-A", "I-A", "O"], ["B-B", "O", "B-A"], ["O", "O", "O"]]
    decided = [["B-A", "O", "O"], ["B-B", "O", "B-A"], ["O", "O", "O"]]
    figures = entity_figures(truth, decided, seed=1)
    assert figures["f1"]["value"] == pytest.approx(2 / 3)  # 2 right, 3 said, 3 true
    assert figures["items"]["row_f1"] == [0.0, 1.0, 1.0]  # a row without entities in which none is found is right
    assert figures["word_accuracy"] == pytest.approx(8 / 9)
    words = [["New", "York", "is"], ["Chad", "and", "Mali"], ["x", "y", "z"]]
    assert unseen_recall(words, truth, decided, {("Chad",)}) == unseen_recall(
        words[:2], truth[:2], decided[:2], {("Chad",)}
    )
    assert unseen_recall(words, truth, decided, {("Chad",)})["mean"] == 0.5  # New York is missed, Mali is found


def test_baselines_know_words_and_their_shape() -> None:
    train = [["in", "Chad", "now"], ["in", "Mali", "now"], ["chad", "is", "now"]] * 3
    tags = [["O", "B-P", "O"], ["O", "B-P", "O"], ["O", "O", "O"]] * 3
    asked = [["in", "Chad", "and", "Peru"]]
    assert most_frequent_tags(train, tags, asked) == [["O", "B-P", "O", "O"]]  # it has not seen Peru
    assert linear_tags(train, tags, [["in", "Peru", "now"]], seed=1) == [["O", "B-P", "O"]]
    assert linear_tags([["Chad"], ["Mali"]], [["B-P"]] * 2, [["New", "York"], []], seed=1) == [["B-P", "B-P"], []]


def test_words_find_their_tokens_in_the_projects_tokenizer() -> None:
    tokenizer = tiny.tokenizer()
    text = "Chad, Côte  d'Ivoire <|end|> 東京"
    row = from_spans(text, [])
    ids, offsets = encode_offsets(tokenizer, text)
    assert tokenizer.eos_token_id not in ids, "the name of a control token inside a text is text"
    for last in (False, True):
        places = windows(tokenizer, text, 100, 0)[0].places([tuple(word) for word in row["words"]], last)
        for (start, end), place in zip(row["words"], places, strict=True):
            first, stop = offsets[place]
            assert first < end and stop > start, "the token covers a part of its word"
            assert (stop >= end) if last else (first <= start)


def test_a_long_text_is_read_in_windows_that_cover_each_word() -> None:
    tokenizer = tiny.tokenizer()
    text = " ".join(f"word{number}" for number in range(60))
    row = from_spans(text, [])
    found = encode(tokenizer, [row], "encoder", 40, 10)
    ids, _ = encode_offsets(tokenizer, text)
    assert len(found) > 3
    assert all(len(one.window.input_ids) <= 40 for one in found)
    joined = found[0].window.input_ids + [token for one in found[1:] for token in one.window.input_ids[10:]]
    assert joined == ids
    assert all(any(one.places[word] is not None for one in found) for word in range(60))
    with pytest.raises(UserError, match="no room for text"):
        encode(tokenizer, [row], "encoder", 10, 10)


class Places(torch.nn.Module):
    """Says of each token how many tokens are before it in the window, as the probability of tag 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = type("Config", (), {"num_labels": 2})()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        before = torch.arange(input_ids.shape[1]).repeat(len(input_ids), 1).float() / 100
        logits = torch.stack([1 - before, before], -1).log()
        return type("Output", (), {"logits": logits})()


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_word_is_read_in_the_window_that_has_most_of_its_context(kind: str) -> None:
    tokenizer = tiny.tokenizer()
    row = from_spans("now " * 50 + "now", [])
    encoded = encode(tokenizer, [row], kind, 40, 20)
    (shares,) = predict(Places(), tokenizer, [row], kind, 40, 20)
    for word in range(51):
        options = [
            (place if kind == "decoder" else min(place, len(one.window.input_ids) - 1 - place), place)
            for one in encoded
            if (place := one.places[word]) is not None
        ]
        most = max(context for context, _ in options)
        assert round(float(shares[word, 1]) * 100) in {place for context, place in options if context == most}


def test_the_factbooks_places_and_peoples(tmp_path: Path) -> None:
    chad = factbook.Country("Chad", {"Capital - name": "Male", "Nationality - adjective": "Chadian"})
    chad.sections = {"People": ["Chadian traders and male herders from Niger came to Chad by way of Male."]}
    niger = factbook.Country("Niger", {"Capital - name": "Niamey", "Nationality - noun": "Nigerien"})
    for country in (chad, niger):
        country.section_documents = dict.fromkeys(country.sections, "d")
    facts = factbook.Facts([chad, niger], {"Chad": "train", "Niger": "test"}, {}, 1)
    assert facts.names() == {
        "Chad": "PLACE",
        "Chadian": "PEOPLE",
        "Chadians": "PEOPLE",
        "Niger": "PLACE",
        "Niamey": "PLACE",
        "Nigerien": "PEOPLE",
        "Nigeriens": "PEOPLE",
    }
    (row,) = default_rows(facts)["train"]
    found = [
        (label, row["text"][row["words"][one][0] : row["words"][last][1]]) for label, one, last in entities(row["tags"])
    ]
    assert found == [("PEOPLE", "Chadian"), ("PLACE", "Niger"), ("PLACE", "Chad")]


@pytest.mark.slow
def test_a_tagger_is_trained_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)
    knobs = {"max_steps": 40, "learning_rate": 0.01, "max_length": 16, "window_overlap": 6}  # rows need several windows
    metrics = tiny.run("token_classification", "bert", **knobs)
    assert metrics["after"]["f1"]["value"] == 1.0
    assert metrics["training"]["data"]["train_windows"] > metrics["training"]["data"]["train_rows"] == 8
    assert set(metrics["baseline"]) == {"most_frequent_tag", "linear"}
    assert Path("out/per_label.csv").read_text().splitlines()[0] == "entity,precision,recall,f1,entities"
    assert [set(json.loads(line)) for line in Path("out/test_items.jsonl").read_text().splitlines()] == [
        {"id", "row_f1"}
    ] * 4
    printed, _ = tiny.said("tag", "--model", "out", "--text", "Is it in Mali now?")
    number, label, start, end, _, text = printed.splitlines()[-1].split("\t")
    assert (number, label, start, end, text) == ("1", "PLACE", "9", "13", "Mali")
    Path("asked.jsonl").write_text('{"text": "Is it in Chad?"}\n{"text": "Is it in Oman now now?"}\n')
    printed, _ = tiny.said("tag", "--model", "out", "--in", "asked.jsonl", "--out-file", "found.jsonl")
    assert "2 entities in 2 texts" in printed
    found = [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()]
    assert [entity["text"] for row in found for entity in row["entities"]] == ["Chad", "Oman"]
    assert tiny.said("tag", "--model", "base", "--text", "x")[1] == 1
    assert "a tagger is needed here" in capsys.readouterr().err
