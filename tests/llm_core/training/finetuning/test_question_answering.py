"""Answers in a text: SQuAD's layouts, windows behind the question, the best span, no answer, and use."""

import json
from pathlib import Path

import pytest
import torch

from llm_core.formats.row_files import read_file
from llm_core.params.finetuning import Data
from llm_core.training.finetuning.data import factbook
from llm_core.training.finetuning.data.dataset import convert, from_dataset
from llm_core.training.finetuning.methods.question_answering import default_rows
from llm_core.training.finetuning.sentence_baselines import overlapping_sentence, weighted_sentences
from llm_core.training.finetuning.span_answers import Limits, decide, encode, pair_frame, predict
from tests.llm_core.training.finetuning import tiny

CONTEXT = "Chad is in Africa. Its capital is N'Djamena, once called Fort-Lamy."
ASKED = {"question": "What is the capital?", "context": CONTEXT}
ROW = ASKED | {"answers": [{"text": "N'Djamena", "start": 34}]}


@pytest.mark.parametrize(
    "raw",
    [
        ASKED | {"answers": {"text": ["N'Djamena"], "answer_start": [34]}, "title": "Chad"},
        ASKED | {"answers": [{"text": " N'Djamena", "answer_start": 33}], "is_impossible": False},
        ASKED | {"answer": "n'djamena"},
        ASKED | {"answers": ["N'Djamena", "Paris"]},
    ],
)
def test_every_layout_gives_the_same_row(raw: dict) -> None:
    assert convert("question_answering", raw, Data()) == ROW


def test_a_question_without_an_answer() -> None:
    for raw in (
        ASKED | {"answers": {"text": [], "answer_start": []}},
        ASKED | {"answers": [{"text": "Africa", "answer_start": 11}], "is_impossible": True},
        ASKED | {"answer": ""},
    ):
        assert convert("question_answering", raw, Data())["answers"] == []


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            ASKED | {"answers": [{"text": "N'Djamena", "answer_start": 35}]},
            "does not have the answer 'N'Djamena' at char",
        ),
        (ASKED | {"answer": "Moundou"}, "does not contain the answer 'Moundou'"),
        (ASKED | {"answers": [{"text": "Africa"}]}, "field 'answer_start' is missing"),
        ({"question": "?", "context": " ", "answer": "x"}, "field 'context' is missing or empty"),
        (ASKED | {"answers": {"text": ["x"], "answer_start": []}}, "of one length"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(raw: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        convert("question_answering", raw, Data())


def test_squads_file_is_read_and_rows_without_their_answer_are_counted(tmp_path: Path) -> None:
    questions = [
        {"id": f"q{at}", "question": f"What is {at}?", "answers": [{"text": "Chad", "answer_start": 0}]}
        for at in range(30)
    ]
    questions += [{"id": "none", "question": "Who?", "answers": [], "is_impossible": True}]
    questions += [{"id": "bad", "question": "Where?", "answers": [{"text": "Chad", "answer_start": 5}]}]
    paragraphs = [{"context": CONTEXT, "qas": questions}, {"context": "x"}]
    file = tmp_path / "train-v2.0.json"
    file.write_text(json.dumps({"version": "v2.0", "data": [{"title": "Chad", "paragraphs": paragraphs}]}))
    assert len(list(read_file(file))) == 33
    data = Data(maximum_bad_rows=0.1, near_duplicate_similarity=1.0)
    split, metrics = from_dataset("question_answering", str(file), data, 1)
    assert (metrics["rows_in"], metrics["bad_rows"]) == (33, 2)
    rows = {row["id"]: row for side in split.values() for row in side}
    assert rows["none"]["answers"] == []
    assert rows["q3"] == {"id": "q3", **ASKED, "question": "What is 3?", "answers": [{"text": "Chad", "start": 0}]}


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_windows_carry_the_question_and_one_of_them_the_answer(kind: str) -> None:
    tokenizer = tiny.tokenizer()
    row = ROW | {"context": "now " * 40 + CONTEXT + " now" * 40}
    row["answers"] = [{"text": "N'Djamena", "start": 160 + 34}]
    found, cut = encode(tokenizer, [row], kind, Limits(64, 20, 30, 30))
    assert cut == 0
    question = tokenizer("What is the capital?", add_special_tokens=False)["input_ids"]
    for one in found:
        ids = one.window.input_ids
        assert ids[: len(question)] == question
        assert len(ids) <= 64
        assert one.nowhere == (0 if kind == "encoder" else len(ids) - 1)
    held = [(one, one.target(row["answers"][0])) for one in found]
    marked = {
        tokenizer.decode(one.window.input_ids[first : last + 1]).strip()
        for one, (first, last) in held
        if first != one.nowhere
    }
    assert marked == {"N'Djamena"}
    assert any(first == last == one.nowhere for one, (first, last) in held), "some windows hold no answer"
    _, cut = encode(tokenizer, [row], kind, Limits(64, 20, 3, 30))
    assert cut == 1


def test_a_pair_is_joined_as_the_tokenizer_joins_it() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny.tokenizer()
    line = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert pair_frame(tokenizer, [40, 41], "decoder") == ([40, 41, *line], [1])
    assert pair_frame(tokenizer, [40, 41], "encoder") == ([40, 41, *line], [])
    form = {"single": "<|begin|> $A <|end|>", "pair": "<|begin|> $A <|end|> $B:1 <|end|>:1"}
    special = [("<|begin|>", 0), ("<|end|>", 1)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(**form, special_tokens=special)
    assert pair_frame(tokenizer, [40, 41], "encoder") == ([0, 40, 41, 1], [1])


class Marks(torch.nn.Module):
    """Scores the tokens `start` and `end` of the vocabulary, and the first place (no answer) by `nothing`."""

    def __init__(self, start: int, end: int, nothing: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = type("Config", (), {})()
        self.start, self.end, self.nothing = start, end, nothing

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        logits = [(input_ids == token).float() * 5 for token in (self.start, self.end)]
        for one in logits:
            one[:, 0] = self.nothing
        return type("Output", (), {"start_logits": logits[0], "end_logits": logits[1]})()


def test_the_best_span_over_all_windows_is_the_answer() -> None:
    tokenizer = tiny.tokenizer()
    row = {"question": "?", "context": "yes " * 30 + "capital 7 city 8" + " yes" * 30}
    start, end = (tokenizer(text, add_special_tokens=False)["input_ids"][-1] for text in ("7", "8"))
    (found,) = predict(Marks(start, end, 1.0), tokenizer, [row], "encoder", Limits(40, 20, 8, 20))
    assert (found.text.strip(), row["context"][found.start : found.end]) == ("7 city 8", found.text)
    assert found.difference == 2.0 - 10.0
    assert decide(found, -9.0) == ""
    assert decide(found, -8.0) == decide(found, None) == "7 city 8"
    (short,) = predict(Marks(start, end, 1.0), tokenizer, [row], "encoder", Limits(40, 20, 8, 2))
    assert short.difference == 2.0 - 5.0, "an answer may not be longer than two tokens"


def test_baselines_choose_a_sentence() -> None:
    assert overlapping_sentence(ROW) == "Its capital is N'Djamena, once called Fort-Lamy."
    assert weighted_sentences([ROW], [ROW]) == ["Its capital is N'Djamena, once called Fort-Lamy."]


def test_the_factbooks_questions_have_their_answers_in_the_context(tmp_path: Path) -> None:
    countries = []
    for number in range(40):
        country = factbook.Country(f"Land{number}")
        fields = {
            "Location": f"north of {number}",
            "Capital - name": f"City{number} (old)",
            "Suffrage": "18 years; all",
        }
        factbook._take_fields(country, f"d{number}", "Government", fields)
        countries.append(country)
    sides = {country.name: "train" for country in countries}
    rows = default_rows(factbook.Facts(countries, sides, {}, 1))["train"]
    answered = [row for row in rows if row["answers"]]
    assert 0 < len(rows) - len(answered) < len(rows) / 2
    for row in answered:
        (answer,) = row["answers"]
        assert row["context"][answer["start"] :].startswith(answer["text"])
        assert row["documents"] == [f"d{row['country'].removeprefix('Land')}"]
    assert all(f"{row['field']}: " not in row["context"] for row in rows if not row["answers"])


@pytest.mark.slow
def test_a_reader_is_trained_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)
    knobs = {"max_steps": 80, "learning_rate": 0.01, "max_length": 36, "window_overlap": 12, "micro_batch": 8}
    metrics = tiny.run("question_answering", "bert", **knobs)
    assert metrics["after"]["f1"]["mean"] > metrics["before"]["f1"]["mean"]
    assert metrics["training"]["data"]["train_windows"] > metrics["training"]["data"]["train_rows"] == 8
    assert set(metrics["baseline"]) == {"no_answer", "overlap_sentence", "tfidf_sentence"}
    assert metrics["baseline"]["no_answer"]["f1"]["mean"] == 0.25  # one of four test questions has no answer
    assert {"f1", "exact_match", "unanswerable_f1", "answerable_f1", "threshold"} <= metrics["after"].keys()
    Path("text.txt").write_text("Is it in Mali now?")
    contexts = ["--context", "text.txt", "--context", "Is it in Oman?"]
    printed, _ = tiny.said("answer", "--model", "out", *contexts, "Which country?", "--json")
    found = [json.loads(line) for line in printed.splitlines()[-2:]]
    threshold = metrics["after"]["threshold"]
    for one, text in zip(found, ("Is it in Mali now?", "Is it in Oman?"), strict=True):
        assert (one["answer"] == "") == (one["start"] is None) == (one["difference"] > threshold)
        assert not one["answer"] or one["answer"] == text[one["start"] : one["end"]]
    assert tiny.said("answer", "--model", "base", "--context", "x", "y")[1] == 1
    assert "question_answering` makes one" in capsys.readouterr().err
