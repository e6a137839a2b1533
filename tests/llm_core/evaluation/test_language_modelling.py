"""Bits per byte against an independent sum, token by token."""

import json
import lzma
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.errors import UserError
from llm_core.evaluation.journal import Journal
from llm_core.evaluation.language_modelling import (
    read_texts,
    score_texts,
    summarize_texts,
    xz_bits_per_byte,
)
from llm_core.evaluation.stage import load, untrained_bits_per_byte
from llm_core.models.loading import untrained
from llm_core.params import Params
from llm_core.params.evaluation import LanguageModelling
from tests.llm_core.tiny_gpt2 import SENTENCES


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "plain.txt"
    path.write_text(" ".join(SENTENCES) + " — naïve")
    return str(path)


@pytest.mark.parametrize(("context", "stride"), [(128, 128), (16, 16), (16, 7)])
def test_bits_per_byte_equal_a_sum_token_by_token(gpt2: Path, file: str, context: int, stride: int) -> None:
    import torch

    network, tokenizer = load(gpt2)
    texts = read_texts([file], tokenizer, None)
    rows = score_texts(network, texts, LanguageModelling(context=context, stride=stride), 3, "test")
    ids = [0, *tokenizer(texts[0].text)["input_ids"], 0]
    nats = 0.0
    for target in range(1, len(ids)):  # the window that first reaches this token, cut off before it
        begin = 0 if target <= context else -(-(target - context) // stride) * stride
        with torch.inference_mode():
            logits = network(torch.tensor([ids[begin:target]])).logits[0, -1].double()
        nats -= float(torch.log_softmax(logits, 0)[ids[target]])
    size = len(texts[0].text.encode())
    assert rows[0]["bytes"] == size
    assert rows[0]["bits"] / size == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_batch_size_changes_rounding_alone(gpt2: Path, tmp_path: Path) -> None:
    network, tokenizer = load(gpt2)
    for number, sentence in enumerate(SENTENCES):
        (tmp_path / f"{number}.txt").write_text(sentence)
    texts = read_texts([str(tmp_path / f"{n}.txt") for n in range(4)], tokenizer, None)
    one, many = (score_texts(network, texts, LanguageModelling(context=16, stride=8), size, "test") for size in (1, 32))
    for a, b in zip(one, many, strict=True):
        assert a["bits"] == pytest.approx(b["bits"], rel=1e-6)


def test_blank_texts_are_refused_or_counted(gpt2: Path, file: str, tmp_path: Path, capsys: Any) -> None:
    _, tokenizer = load(gpt2)
    blank, documents = tmp_path / "blank.txt", tmp_path / "documents.jsonl"
    blank.write_text("\n\n \u00a0\n")
    for inputs in ([str(blank)], [file, str(blank)]):
        with pytest.raises(UserError, match=r"blank\.txt: no text to measure"):
            read_texts(inputs, tokenizer, None)
    rows = [{"id": "a", "source": "s", "text": " "}, {"id": "b", "source": "s", "text": ""}]
    documents.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"documents\.jsonl: no text to measure"):
        read_texts([str(documents)], tokenizer, None)
    assert [text.source for text in read_texts([str(documents), file], tokenizer, None)] == ["plain"]
    assert "2 documents without text are left out" in capsys.readouterr().err


def test_an_id_names_one_document(gpt2: Path, file: str, tmp_path: Path) -> None:
    """Two models are compared document by document: of two with one id the second would be taken for the first."""
    _, tokenizer = load(gpt2)
    documents = tmp_path / "documents.jsonl"
    rows = [{"id": "a", "source": source, "text": f"text {at}"} for at, source in enumerate("sts")]
    documents.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    assert len(read_texts([str(documents)], tokenizer, None)) == 2
    documents.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for inputs in ([str(documents)], [file, file]):
        with pytest.raises(UserError, match=r"two documents of source (s|plain) have the id"):
            read_texts(inputs, tokenizer, None)


def test_perplexity_and_bits_per_byte_agree() -> None:
    rows = [
        {"source": "a", "bits": 30.0, "bytes": 10, "tokens": 5},
        {"source": "b", "bits": 10.0, "bytes": 10, "tokens": 5},
    ]
    scores = summarize_texts(rows)
    assert scores["all"]["bits_per_byte"] == 2.0 and scores["all"]["perplexity"] == 2**4
    assert scores["a"]["perplexity"] == 2**6
    assert math.isnan(scores["a"]["bits_per_byte_stderr"])


def test_xz_is_the_compressor_itself(gpt2: Path, file: str) -> None:
    _, tokenizer = load(gpt2)
    texts = read_texts([file], tokenizer, None)
    data = Path(file).read_bytes()
    assert xz_bits_per_byte(texts)["plain"] == 8 * len(lzma.compress(data, preset=9)) / len(data)


def test_random_weights_are_scored_once_for_all_models_of_one_shape(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tuned = tmp_path / "tuned"
    network, tokenizer = load(gpt2)
    with torch.no_grad():
        network.transformer.wte.weight += 0.5
    network.save_pretrained(tuned)
    Path("held.txt").write_text(SENTENCES[0])
    texts = read_texts(["held.txt"], tokenizer, None)

    def scored(model: Path, **settings: Any) -> float:
        params = Params.model_validate({"evaluation": {"language_modelling": {"context": 16}}, **settings})
        return untrained_bits_per_byte(model, texts, params, Journal())["held"]

    first = scored(gpt2)
    random = untrained(gpt2, Params().seed)
    rows = score_texts(random, texts, LanguageModelling(context=16), 32, "untrained")
    assert first == rows[0]["bits"] / rows[0]["bytes"]
    (file,) = Path(".scratch/untrained").iterdir()
    file.write_text(json.dumps({"held": 9.5}))
    assert scored(tuned) == scored(gpt2) == 9.5, "read, not computed again"
    assert scored(gpt2, seed=1) not in (9.5, first), "another seed has other weights"
