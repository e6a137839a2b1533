"""Answers: evidence within the budget, citations that hold the answer, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.ask import REFUSAL, Asker
from llm_core.retrieval.index import Index
from llm_core.retrieval.measure import measure_answers, measure_search, overlap
from llm_core.retrieval.questions import Question, read_questions
from llm_core.retrieval.reader import Reader
from llm_core.retrieval.search import Search
from tests.llm_core.retrieval.test_index import TEXTS, built  # noqa: F401 - a fixture

PARAMS = Retrieval(passage_words=16, overlap_words=4, prompt_tokens=120, answer_tokens=8, relevance=0.2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small causal model with random weights, its tokenizer trained on the corpus."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    folder = tmp_path_factory.mktemp("model")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    raw.train_from_iterator(TEXTS.values(), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    set_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=2048,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    ).save_pretrained(folder)
    return folder


class Parrot:
    """A reader that says a fixed answer: what `Asker` makes of it is what is tested."""

    def __init__(self, says: str) -> None:
        self.says = says

    def prompt(self, question: str, evidence: list[str]) -> tuple[list[int], int]:
        return [1], len(evidence)

    def __call__(self, prompts: list[list[int]]) -> list[str]:
        return [self.says]


def asker(built: Path, reader: Any, **changes: Any) -> Asker:  # noqa: F811
    params = PARAMS.model_copy(update=changes)
    return Asker(Search(Index(built), params), reader, params)


def test_the_citation_is_the_passage_that_holds_the_answer(built: Path) -> None:  # noqa: F811
    answer = asker(built, Parrot("Tokyo."))("What is the capital of Japan?")
    assert answer.supported and not answer.refused
    assert {row["document_id"] for row in answer.citations} == {"Japan"}
    row = answer.citations[0]
    assert TEXTS["Japan"][row["start"] : row["stop"]] == row["text"]


def test_words_that_no_shown_line_holds_are_not_supported(built: Path) -> None:  # noqa: F811
    assert not asker(built, Parrot("Atlantis"))("What is the capital of Japan?").supported


def test_an_unrelated_question_is_refused(built: Path) -> None:  # noqa: F811
    answer = asker(built, Parrot("42"), relevance=0.35)("How do I sort a list in Haskell?")
    assert (answer.text, answer.refused, answer.citations) == (REFUSAL, True, [])


def test_evidence_leaves_from_its_end_until_the_prompt_keeps_the_budget(model: Path) -> None:
    reader = Reader(model, prompt_tokens=60, answer_tokens=4)
    evidence = ["Paris is the capital.", "Oslo is the capital.", "word " * 50]
    ids, count = reader.prompt("Which capital?", evidence)
    assert len(ids) <= 60 and count == 2
    assert "Oslo" in reader.tokenizer.decode(ids) and "word" not in reader.tokenizer.decode(ids)
    with pytest.raises(UserError, match=r"tokens as a prompt, more than 60 \(retrieval.prompt_tokens"):
        reader.prompt("long " * 100, [])
    with pytest.raises(
        UserError, match=r"more than 4 \(the model's context of 2048 less retrieval.answer_tokens, 2044"
    ):
        Reader(model, prompt_tokens=60, answer_tokens=2044).prompt("Which capital?", [])


def test_a_real_model_answers_and_everything_is_measured(built: Path, model: Path) -> None:  # noqa: F811
    questions = [
        Question(f"What is the capital of {name}?", (text.split()[0],), None, name) for name, text in TEXTS.items()
    ]
    scores, rows = measure_answers(Index(built), questions, model, PARAMS, seed=1)
    assert scores["questions"] == len(rows) == 5 and scores["refused"] == 0
    assert scores["exact_with"] == 0 and rows[0]["with"] != ""
    search = measure_search(Index(built), questions, PARAMS, seed=1)
    assert search["hybrid"]["recall@5"] == 1.0 and search["bm25"]["recall@1"] == 1.0


def test_overlap_by_hand() -> None:
    assert overlap("the red car", ("a red bus", "blue")) == 0.5
    assert overlap("", ("",)) == 1.0 and overlap("x", ("y",)) == 0.0


def test_rows_of_a_finetune_are_questions_and_their_last_message_is_the_answer(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    talk = [{"role": "user", "content": "Which tea?"}, {"role": "assistant", "content": "Green."}]
    facts = {"id": "2", "kind": "closed", "answer": "Oslo", "country": "Norway", "messages": talk}
    rows = [{"id": "1", "messages": talk}, facts, facts | {"kind": "open"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_questions(file) == [
        Question("Which tea?", ("Green.",), None, None), Question("Which tea?", ("Oslo",), None, "Norway"),
    ]  # fmt: skip


def test_questions_are_read_or_refused_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"question": "Q?", "answers": ["a"]}\n{"question": "Q?"}\n')
    with pytest.raises(UserError, match=r"q.jsonl:2: a question"):
        read_questions(file)
