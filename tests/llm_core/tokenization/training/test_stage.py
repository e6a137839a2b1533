"""Training: a folder that AutoTokenizer loads, with the ids that `tokenizers` itself would give."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.params.launch import PieceLaunch
from llm_core.params.tokenizer import Tokenizer
from llm_core.runtime.digests import content_digest
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.layout import Vocabulary
from llm_core.tokenization.training import sample
from llm_core.tokenization.training.counting import PieceCounts
from llm_core.tokenization.training.sources import SampleCounts, count
from llm_core.tokenization.training.stage import fit, train_tokenizer
from tests.llm_core.tokenization.conftest import TEXTS, write


def test_special_tokens_and_chat_template(tokenizer: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (0, 1, 2) and len(loaded) == 400
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "Why?"},
    ]
    text = loaded.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|begin|><|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>Yes<|end|><|user|>Why?<|end|><|assistant|>"
    )
    ids = loaded.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert ids[:2] == [0, 3] and ids[-1] == 5 and ids.count(1) == 4
    masked = loaded.apply_chat_template(turns, return_assistant_tokens_mask=True, return_dict=True)
    said = [i for i, m in zip(masked["input_ids"], masked["assistant_masks"], strict=True) if m]
    assert loaded.decode(said) == "Yes<|end|>"


def test_every_text_comes_back(tokenizer: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    for text in [text for part in TEXTS.values() for text in part]:
        ids = loaded(text)["input_ids"]
        assert ids[0] == 0 and loaded.decode(ids[1:]) == text


def test_metrics_by_hand(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "abc abc"}\n{"text": "  x\\ny "}\n')
    metrics = train_tokenizer([tmp_path / "a.jsonl"], tmp_path / "out", Tokenizer(vocab_size=262), seed=1)
    assert metrics["bytes"] == metrics["tokens"] == 13 and metrics["words"] == 4 and metrics["bytes_per_token"] == 1
    assert metrics["unused_tokens"] == 262 - 7  # a b c x y, space, line end
    assert metrics["by_source"]["a"]["fertility"] == 3.25


def test_same_bytes_again(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    train_tokenizer([corpus], tmp_path / "again", Tokenizer(vocab_size=400), seed=1)
    for file in sorted(tokenizer.iterdir()):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def counted(parts: list[str], most: int, apart: bool) -> dict[bytes, int]:
    """Pieces and their counts where `most` distinct ones are held, each part counted apart and merged, or not."""
    counts = PieceCounts(3, True, most)
    for part in parts:
        texts = pa.array([part], pa.large_string())
        if apart:
            one = PieceCounts(3, True, most)
            one.add(texts)
            counts.merge(*one.result())
        else:
            counts.add(texts)
    arena, starts, numbers = counts.result()
    return {bytes(arena[a:b]): n for a, b, n in zip(starts, starts[1:], numbers.tolist(), strict=False)}


def test_parts_that_are_counted_apart_give_the_counts_of_the_whole() -> None:
    draw = random.Random(1)
    letters = "abcdefgh" * 20 + "".join(map(chr, range(192, 400)))
    parts = [" ".join(draw.choices(letters, k=200)) for _ in range(9)]
    whole = counted(parts, 1 << 23, apart=False)
    assert counted(parts, 1 << 23, apart=True) == whole and len(whole) > 128
    few = counted(parts, 64, apart=True)  # rare pieces are dropped meanwhile, and of frequent ones the first few
    shares = [few[f" {letter}".encode()] / whole[f" {letter}".encode()] for letter in "abcdefgh"]
    assert len(few) <= 64 and all(0.7 < share <= 1 for share in shares)


@pytest.mark.parametrize(("digits", "pieces"), [(1, 4), (2, 2), (3, 2)])
def test_digits_policy(tmp_path: Path, digits: int, pieces: int) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "1111 " * 50}))
    train_tokenizer([tmp_path / "a.jsonl"], tmp_path / "out", Tokenizer(vocab_size=300, digits=digits), seed=1)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("1111")) == pieces


@pytest.mark.parametrize(("whitespace", "pieces"), [("runs", 2), ("single", 8)])
def test_whitespace_policy(tmp_path: Path, whitespace: str, pieces: int) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "        x" * 50}))
    params = Tokenizer.model_validate({"vocab_size": 300, "whitespace": whitespace})
    train_tokenizer([tmp_path / "a.jsonl"], tmp_path / "out", params, seed=1)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("        x")) == pieces


def test_an_empty_corpus_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(UserError, match="no text to train"):
        train_tokenizer([tmp_path], tmp_path / "out", Tokenizer(), seed=1)
    assert not (tmp_path / "out").exists()


def test_the_fit_follows_from_the_counts(tmp_path: Path, tokenizer: Path) -> None:
    """Encoding all texts gives the figures that the counted pieces give, in parts that share sources."""
    corpus, encoder = [write(tmp_path / "in", TEXTS)], Encoder(Vocabulary(tokenizer))
    counts = SampleCounts(3, True)
    for batch in read_documents(corpus, ["source", "text"]):
        for row in range(batch.num_rows):
            counts.merge(count(iter([batch.slice(row, 1)]), 3, True))
    read = fit(encoder, tokenizer, corpus, {}, 1, 1, PieceLaunch())
    found = counts.fit(encoder)
    assert found is not None and found.summary() | {"vocab_size": encoder.size} == read
    assert read["unused_tokens"] == int((found.used == 0).sum()) > 0


@pytest.mark.parametrize("sample_bytes", [1 << 31, 300])
def test_one_pass_or_two_count_the_same(tmp_path: Path, sample_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where footers promise a small corpus it is counted while it is measured; a wrong promise costs a pass."""
    corpus, written = write(tmp_path / "in", TEXTS), []
    for promise in (True, False):
        monkeypatch.setattr(sample, "seems_whole", lambda paths, params, promise=promise: promise)
        train_tokenizer([corpus], tmp_path / "out", Tokenizer(vocab_size=300, sample_bytes=sample_bytes), 1)
        written.append(content_digest(tmp_path / "out"))
    assert written[0] == written[1]


def test_pieces_that_were_dropped_have_no_fit(tmp_path: Path, tokenizer: Path) -> None:
    counts = SampleCounts(3, True)
    part = count(iter([pa.record_batch({"source": ["a"], "text": pa.array(["one two"], pa.large_string())})]), 3, True)
    counts.merge({source: found._replace(complete=False) for source, found in part.items()})
    assert counts.fit(Encoder(Vocabulary(tokenizer))) is None and counts.sizes == {"a": 7}


def test_pieces_that_were_dropped_while_parts_were_merged_have_no_fit(tokenizer: Path) -> None:
    """Each part is complete, and after the drop the source has less than the most that may be known."""
    counts, encoder = SampleCounts(3, True, max_words=8), Encoder(Vocabulary(tokenizer))
    for text, fits in (("a b c d e f", True), (" g h i j k l", False)):
        batch = pa.record_batch({"source": ["a"], "text": pa.array([text], pa.large_string())})
        counts.merge(count(iter([batch]), 3, True))
        assert counts.pieces.words <= 8 and (counts.fit(encoder) is not None) is fits
