"""The compiled trainer against `tokenizers`' own BpeTrainer: the same merges in the same order."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from llm_core.params import tokenizer as params
from llm_core.tokenization.layout import FIRST_BYTE, FIRST_MERGE, byte_alphabet, spell
from llm_core.tokenization.pattern import pattern
from llm_core.tokenization.specials import SPECIAL_TOKENS
from llm_core.tokenization.training.counting import PieceCounts
from llm_core.tokenization.training.merges import learn_merges
from llm_core.tokenization.training.stage import train_tokenizer
from tests.llm_core.tokenization.conftest import TEXTS, write


def reference(texts: list[str], vocab_size: int) -> dict:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern(params.Tokenizer())), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def ours(texts: list[str], vocab_size: int) -> list[list[int]]:
    counts = PieceCounts(digits=3, runs=True)
    for text in texts:
        counts.add(pa.array([text], pa.large_string()))
    byte_ids = np.zeros(256, np.int64)
    byte_ids[list(byte_alphabet())] = FIRST_BYTE + np.arange(256)
    return learn_merges(*counts.result(), byte_ids, FIRST_MERGE, vocab_size).tolist()


def same(texts: list[str], vocab_size: int) -> None:
    model = reference(texts, vocab_size)
    ids = model["vocab"]
    assert ours(texts, vocab_size) == [[ids[left], ids[right]] for left, right in model["merges"]]


def test_by_hand() -> None:
    # "ab" 3 times and "bc" 2 times; after ab: "abc" twice; then every piece is one token
    names = {FIRST_BYTE + i: chr(b) for i, b in enumerate(byte_alphabet())}
    first, second = ours(["abc"], 1000), ours(["ab", "abc", "abc"], 1000)
    assert [(names[left], names[right]) for left, right in first[:1]] == [("a", "b")]
    assert second == [first[0], [FIRST_MERGE, first[1][1]]]


@pytest.mark.parametrize("seed", range(12))
def test_random_text_of_few_letters(seed: int) -> None:
    """Few letters make overlaps (aaa), ties and texts that two merges make."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("aab", k=draw.randrange(1, 9))) for _ in range(300)]
    same([" ".join(draw.choices(words, k=40)) for _ in range(20)], 262 + 400)


def test_texts_of_all_kinds() -> None:
    same([text for part in TEXTS.values() for text in part], 600)


def test_a_text_that_two_merges_make_is_one_token() -> None:
    ids = {chr(b): FIRST_BYTE + i for i, b in enumerate(byte_alphabet())}
    pairs = [(ids["a"], ids["b"]), (ids["b"], ids["c"]), (FIRST_MERGE, ids["c"]), (ids["a"], FIRST_MERGE + 1)]
    pairs.append((FIRST_MERGE + 2, ids["d"]))
    assert [left + right for left, right in spell(pairs)] == [b"ab", b"bc", b"abc", b"abc", b"abcd"]


def test_whole_vocabulary_file(tmp_path: Path) -> None:
    corpus = write(tmp_path / "in", TEXTS)
    train_tokenizer([corpus], tmp_path / "out", params.Tokenizer(vocab_size=500), seed=1)
    model = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["model"]
    expected = reference([text for part in TEXTS.values() for text in part], 500)
    assert model["vocab"] == expected["vocab"] and model["merges"] == expected["merges"]


@pytest.mark.slow
def test_real_text() -> None:
    file = Path("../shared/data/finetuning/instruction-data.json")
    if not file.exists():
        pytest.skip(f"{file} is not there")
    same([row["output"] + row["instruction"] for row in json.loads(file.read_text())], 3000)


def test_counts_survive_growing_and_pruning() -> None:
    draw = random.Random(1)
    words = [f"{draw.randrange(10**9):x}" for _ in range(3000)]
    texts = pa.array([f" {word}" * (1 + n % 7) for n, word in enumerate(words)], pa.large_string())
    whole, bounded = PieceCounts(3, True), PieceCounts(3, True, max_words=512)
    for counts in (whole, bounded):
        counts._reset(64, 256)
        counts.add(texts.slice(0, 1000))
        counts.add(texts.slice(1000))
    arena, starts, total = whole.result()
    assert total.sum() == sum(
        len(pre_tokenizers.Split(Regex(pattern(params.Tokenizer())), "isolated").pre_tokenize_str(t.as_py()))
        for t in texts
    )
    pieces = [arena[a:b].tobytes() for a, b in itertools.pairwise(starts)]
    assert len(set(pieces)) == len(pieces) > 512
    assert len(bounded.result()[2]) <= 512


def test_parquet_slices_count_alike(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["one two", "three", "", "two two"], pa.large_string())})
    pq.write_table(table, tmp_path / "a.parquet")
    column = pq.read_table(tmp_path / "a.parquet")["text"].chunk(0)
    counts = PieceCounts(3, True)
    counts.add(column.slice(3))
    assert counts.result()[0].tobytes() == b"two two" and counts.result()[2].tolist() == [1, 1]
