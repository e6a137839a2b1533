"""A sketch estimates the similarity of two texts, and its format does not change."""

import random

import numpy as np
import pytest

from llm_core.corpus.similarity.sketch import SIZE, Sketcher, Sketches, decode, encode
from llm_core.corpus.similarity.word_hashes import jaccard

WORDS = [f"word{number}" for number in range(500)]


def text(seed: int, length: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def edited(words: str, every: int) -> str:
    return " ".join("other" if place % every == 0 else word for place, word in enumerate(words.split()))


@pytest.mark.parametrize("length", [3, 20, 300, 3000])
@pytest.mark.parametrize("every", [10, 20, 50, 10_000])
def test_the_estimate_is_near_the_true_similarity(length, every):
    sketcher = Sketcher()
    first, second = sketcher(text(1, length)), sketcher(edited(text(1, length), every))
    sketches = Sketches([decode(encode(first))])
    true = jaccard(first, second)
    for threshold in np.arange(0.05, 1, 0.05):
        if abs(true - threshold) > (0.15 if len(first) > SIZE else 0):
            assert sketches.alike(second, threshold) == ([0] if true >= threshold else [])


def test_a_sketch_goes_through_a_file_and_is_pinned():
    """Tombstones hold sketches for years: where this fails, words or hashes changed, and VERSION must be raised."""
    made = encode(Sketcher()("The quick brown fox jumps over the lazy dog"))
    assert made == PINNED
    assert decode(made).tolist() == Sketcher()("the quick brown FOX, jumps over the lazy dog!").tolist()
    assert encode(Sketcher()("…")) == ""


@pytest.mark.parametrize("broken", ["", "2:AAAAAAAA", "1:", "1:AAAA", "1:?"])
def test_what_is_no_sketch_is_refused(broken):
    with pytest.raises(ValueError):
        decode(broken)


def test_of_many_sketches_the_right_one_is_named():
    sketcher = Sketcher()
    sketches = Sketches([decode(encode(sketcher(text(seed, 200)))) for seed in range(30)])
    assert sketches.alike(sketcher(edited(text(7, 200), 40)), 0.5) == [7]
    assert sketches.alike(sketcher(text(99, 200)), 0.1) == []
    assert sketches.alike(sketcher(""), 0.1) == []


PINNED = "1:Ff6oXzwXF+LP1+qcdcqz65zPthx7Nwl08cKuB/7R"
