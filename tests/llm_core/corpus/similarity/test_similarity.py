"""Word hashes, shingles and MinHash against the definitions."""

import math
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_core.corpus.similarity import clusters
from llm_core.corpus.similarity.clusters import Near, ShingleStore
from llm_core.corpus.similarity.forest import labels, new_forest
from llm_core.corpus.similarity.minhash import band_keys, permutations, sorted_set
from llm_core.corpus.similarity.signing import sign
from llm_core.corpus.similarity.word_hashes import WordHasher, jaccard, ngrams
from llm_core.kernels.hashing import mix, siphash
from llm_core.kernels.words import words


def test_words_ignore_case_punctuation_and_typography():
    hasher = WordHasher()
    assert hasher("Don’t stop — now!").tolist() == hasher("don't STOP, “now”").tolist()
    assert len(hasher("one two,three")) == 3
    assert hasher("…").tolist() == []


def test_siphash_of_the_authors_test_vector():
    """Aumasson and Bernstein, appendix A: key 00 … 0f, message 00 … 0e."""
    key = np.frombuffer(bytes(range(16)), np.uint64)
    assert siphash(np.frombuffer(bytes(range(15)), np.uint8), 0, 15, key[0], key[1]) == 0xA129CA6149BE45E5


@given(st.binary(max_size=30))
def test_siphash_reads_capitals_as_small_letters(text):
    """Of all bytes only A to Z, wherever they are; and the place in the array does not matter."""
    key = np.uint64(1)
    values = [
        siphash(np.frombuffer(padded, np.uint8), 1, 1 + len(text), key, key)
        for padded in (b"x" + text, b"y" + text.lower() + b"Z" * 9)
    ]
    assert values[0] == values[1]
    assert values[0] != siphash(np.frombuffer(text + b"\0", np.uint8), 0, len(text) + 1, key, key)


@given(st.text())
@example("İstanbul ﬁne ſ ½ ①x Ⅷ_ß\u0301a\ud800b")
def test_the_compiled_scanner_finds_the_words_of_the_definition(text):
    hasher = WordHasher()
    assert hasher(text).tolist() == [value for word in words(text) for value in hasher(word).tolist()]
    assert len(hasher(text)) == len(words(text))


def test_scripts_without_spaces_have_words_too():
    assert len(WordHasher()("東京は日本 ok")) == 6


@pytest.mark.parametrize(("words", "n", "count"), [(0, 5, 0), (3, 5, 1), (5, 5, 1), (7, 5, 3), (4, 1, 4)])
def test_number_of_ngrams(words, n, count):
    assert len(ngrams(np.arange(words, dtype=np.uint64), n)) == count


def test_ngrams_are_equal_where_the_words_are():
    words = np.array([1, 2, 3, 1, 2, 3], dtype=np.uint64)
    runs = ngrams(words, 3).tolist()
    assert runs[0] == runs[3]
    assert len(set(runs)) == 3


def test_jaccard_by_hand():
    a, b = (np.array(values, dtype=np.uint64) for values in ([1, 2, 3, 4], [3, 4, 5]))
    assert jaccard(a, b) == 2 / 5
    assert jaccard(a[:0], b[:0]) == 0


def test_band_keys_collide_as_often_as_theory_says():
    """Pairs of Jaccard 0.8 share a band of 14 x 8 with probability 1 - (1 - 0.8^8)^14 = 0.924."""
    functions = permutations(112, seed=3)
    generator = np.random.default_rng(0)
    trials, met = 400, 0
    for _ in range(trials):
        common = generator.integers(0, 2**63, 160, dtype=np.uint64)
        one, two = (np.append(common, generator.integers(0, 2**63, 20, dtype=np.uint64)) for _ in range(2))
        met += bool((band_keys(one, functions, 14) == band_keys(two, functions, 14)).any())
    expected = 1 - (1 - 0.8**8) ** 14
    assert abs(met / trials - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 100])
def test_band_keys_are_folded_minima(count):
    """Against the definition in numpy, for numbers of shingles below, at and above what one vector holds."""
    shingles = np.random.default_rng(count).integers(0, 1 << 63, count, dtype=np.uint64) << np.uint64(1)
    functions = permutations(6, seed=5)
    expected = [0, 0]
    if count:
        values = shingles * functions[0][:, None] + functions[1][:, None]
        lowest = (values ^ (values >> np.uint64(32))).min(axis=1)
        for band in range(2):
            key = np.uint64(band)
            for value in lowest[3 * band : 3 * band + 3]:
                key = mix(key ^ value)
            expected[band] = int(key)
    assert band_keys(shingles, functions, 2).tolist() == expected


@given(st.lists(st.integers(0, (1 << 64) - 1)), st.integers(1, 100))
@example([1 << 63, 5], 100)  # two values in turn, in two large buckets
@example([5, 4, 3], 100)  # in one large bucket
def test_sets_are_sorted_without_repeats(values, times):
    hashes = np.array(values * times, np.uint64)
    assert sorted_set(hashes).tolist() == sorted(set(values))


def test_pairs_are_those_at_least_as_alike_as_the_threshold(tmp_path):
    words = [f"w{number}" for number in range(200)]
    base = random.Random(0).choices(words, k=100)
    texts = [
        " ".join(base),
        " ".join([*base[:96], *"stuvw"]),
        " ".join(base[:50] + random.Random(1).choices(words, k=50)),
    ]
    near = Near(5, 20, 4, 0.8, 1)
    store = ShingleStore(tmp_path, near)
    store.append(sign(pa.array(texts, pa.large_string()), near))
    shingles = store.finish()
    assert shingles.similarity(0, 1) == pytest.approx(92 / (96 + 97 - 92), abs=0.02)
    forest = new_forest(tmp_path, 3)
    shingles.join(np.argsort, forest)
    assert labels(forest).tolist() == [0, 0, 1]


def test_little_memory_finds_the_same_clusters(tmp_path, monkeypatch):
    """Keys in many parts, shingles of a pair at a time: the clusters are those of one part, and of all pairs."""
    draw = random.Random(0)
    words = [f"w{number}" for number in range(1000)]
    texts = [" ".join(draw.choices(words, k=30)) for _ in range(300)]
    texts += [f"{draw.choice(texts)} again{number}" for number in range(200)]
    near = Near(5, 20, 4, 0.8, 1)
    signatures = sign(pa.array(texts, pa.large_string()), near)
    found = []
    for share in (1 << 10, 1 << 20):
        monkeypatch.setattr(clusters, "memory_share", lambda _, share=share: share)
        folder = tmp_path / str(share)
        folder.mkdir()
        store = ShingleStore(folder, near)
        store.append(signatures)
        shingles, forest = store.finish(), new_forest(folder, len(texts))
        assert len(list(shingles._parts(0))) > 10 or share > 1 << 10
        shingles.join(np.argsort, forest)
        found.append(labels(forest).tolist())
    assert found[0] == found[1]
    alike = {(a, b) for a in range(500) for b in range(a) if shingles.similarity(a, b) >= 0.8}
    assert len(alike) > 200
    assert all(found[0][a] == found[0][b] for a, b in alike)
