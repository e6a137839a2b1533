"""Token shards from documents: the ids of `tokenizers` between begin and end, nothing lost."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.params.launch import PieceLaunch
from llm_core.runtime.storage import read_json, write_json
from llm_core.tokenization.stage import tokenize
from tests.llm_core.tokenization.conftest import TEXTS, write


def test_documents_become_begin_ids_end(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    metrics = tokenize([corpus], tokenizer, tmp_path / "out", PieceLaunch(workers=2))
    shards, loaded = TokenShards(tmp_path / "out"), AutoTokenizer.from_pretrained(tokenizer)
    texts = [text for part in TEXTS.values() for text in part]
    assert len(shards) == len(texts) and shards.vocab_size == 400
    for document, text in enumerate(texts):
        assert shards.ids(document).tolist() == [0, *loaded(text, add_special_tokens=False)["input_ids"], 1]
    assert shards.column("bytes") == [len(text.encode()) for text in texts]
    assert metrics == read_json(tmp_path / "out" / "metrics.json")
    assert metrics["tokens"] == shards.tokens
    assert {source: counts["documents"] for source, counts in metrics["by_source"].items()} == {
        source: len(part) for source, part in TEXTS.items()
    }


def test_both_sides_of_a_split(tokenizer: Path, tmp_path: Path) -> None:
    write(tmp_path / "split" / "train" / "documents", {"x": ["one", "two words"]})
    write(tmp_path / "split" / "heldout" / "documents", {"y": ["three"]})
    metrics = tokenize([tmp_path / "split"], tokenizer, tmp_path / "out", PieceLaunch(workers=1))
    assert [len(TokenShards(tmp_path / "out" / side)) for side in ("train", "heldout")] == [2, 1]
    assert metrics["train"]["documents"] == 2 and metrics["heldout"]["bytes"] == 5


def test_a_document_on_both_sides_is_refused_and_passes_of_a_mix_are_not(tokenizer: Path, tmp_path: Path) -> None:
    for side in ("train", "heldout"):
        write(tmp_path / "split" / side / "documents", {"x": ["one"]})
    with pytest.raises(UserError, match=r"tokenize: the id 'x-0' is in .*train.* and again in .*heldout"):
        tokenize([tmp_path / "split"], tokenizer, tmp_path / "out", PieceLaunch(workers=1))
    write_json(tmp_path / "split/metrics.json", {"mix": {}})
    assert (
        tokenize([tmp_path / "split"], tokenizer, tmp_path / "out", PieceLaunch(workers=1))["train"]["documents"] == 1
    )


def test_special_tokens_in_a_text_are_plain_text(tokenizer: Path, tmp_path: Path) -> None:
    corpus = write(tmp_path / "in", {"x": ["a<|end|>b"]})
    tokenize([corpus], tokenizer, tmp_path / "out", PieceLaunch(workers=1))
    ids = TokenShards(tmp_path / "out").ids(0).tolist()
    assert ids.count(1) == 1 and AutoTokenizer.from_pretrained(tokenizer).decode(ids[1:-1]) == "a<|end|>b"


def test_same_bytes_with_any_number_of_workers(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    for workers in (1, 3):
        tokenize([corpus], tokenizer, tmp_path / str(workers), PieceLaunch(workers=workers))
    one, three = ((tmp_path / name / "00000.arrow").read_bytes() for name in "13")
    assert one == three


def test_what_is_no_tokenizer_is_named(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
        tokenize([corpus], tmp_path, tmp_path / "out", PieceLaunch(workers=1))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="holds no tokenizer that can be read"):
        tokenize([corpus], tmp_path, tmp_path / "out", PieceLaunch(workers=1))
