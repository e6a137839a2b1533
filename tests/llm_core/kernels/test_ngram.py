"""The n-gram model's probabilities are Kneser and Ney's, worked out with dictionaries, and sum to one."""

import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from llm_core.cli import main
from llm_core.evaluation.language_modelling import read_texts
from llm_core.evaluation.stage import evaluate
from llm_core.kernels.ngram import NgramModel
from llm_core.models.loading import load_tokenizer
from llm_core.params import Params
from tests.llm_core.open_model_folders import SENTENCES, make

VOCABULARY = 7


def documents(count, seed):
    generator = random.Random(seed)
    return [[0, *(generator.choice([1, 2, 2, 3, 3, 3, 4, 5]) for _ in range(generator.randrange(9))), 6]
            for _ in range(count)]  # fmt: skip


def probability(trained, order, history, token):
    """Interpolated Kneser-Ney by its definition, one n-gram at a time."""
    grams = defaultdict(Counter)
    for document in trained:
        padded = [0] * (order - 1) + document if order > 1 else document
        start = max(order, 1) if order > 1 else 1
        for at in range(start, len(padded)):
            for size in range(1, order + 1):
                grams[size][tuple(padded[at - size + 1 : at + 1])] += 1
    counts = {order: grams[order]}
    for size in range(order - 1, 0, -1):
        counts[size] = Counter(gram[1:] for gram in grams[size + 1])

    def interpolated(size, context):
        if size == 0:
            return 1 / VOCABULARY
        below = interpolated(size - 1, context[1:] if context else ())
        beside = {gram[-1]: count for gram, count in counts[size].items() if gram[:-1] == context}
        if not beside:
            return below
        values = list(counts[size].values())
        once, twice = values.count(1), values.count(2)
        discount = once / (once + 2 * twice) if once else 0.5
        total = sum(beside.values())
        return max(beside.get(token, 0) - discount, 0) / total + discount * len(beside) / total * below

    return interpolated(order, tuple(history[len(history) - order + 1 :]) if order > 1 else ())


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_definition(order):
    trained, held = documents(30, 1), documents(4, 2)
    model = NgramModel.of(trained, order, VOCABULARY)
    for document in held:
        padded = [0] * max(order - 2, 0) + document
        start = max(order - 1, 1)
        wanted = [-math.log2(probability(trained, order, padded[:at], padded[at])) for at in range(start, len(padded))]
        assert model.bits(document).tolist() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("history", [[0], [0, 3, 2], [0, 5, 5, 5, 5]])
def test_the_probabilities_of_all_tokens_sum_to_one(order, history):
    model = NgramModel.of(documents(30, 3), order, VOCABULARY)
    assert sum(2 ** -model.bits([*history, token])[-1] for token in range(VOCABULARY)) == pytest.approx(1)


def test_more_context_helps_on_text_that_repeats_itself():
    trained = [[0, 1, 2, 3, 1, 2, 4, 6]] * 5 + documents(5, 4)
    bits = [NgramModel.of(trained, order, VOCABULARY).bits([0, 1, 2, 3, 1, 2, 4, 6]).sum() for order in (1, 2, 3, 4)]
    assert bits == sorted(bits, reverse=True)


def test_evaluate_gives_the_n_gram_models_bits_per_byte_beside_the_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    folder = make("gpt2", tmp_path / "gpt2")
    Path("train.txt").write_text("\n".join(SENTENCES * 3))
    Path("held.txt").write_text("The people of the river keep iron and light.")
    settings = {"untrained": False, "context": 64, "stride": 64, "ngram": {"order": 3}}
    params = Params.model_validate({"evaluation": {"language_modelling": settings, "prompts": []}})
    metrics = evaluate(folder, Path("out"), params, inputs=["held.txt"], trained_on=["train.txt"])
    tokenizer = load_tokenizer(folder)
    train, held = (read_texts([file], tokenizer, None) for file in ("train.txt", "held.txt"))
    wanted = NgramModel.of([train[0].ids], 3, len(tokenizer)).bits(held[0].ids).sum() / 44
    for source in ("all", "held"):
        assert metrics["bits_per_byte"][source]["ngram"] == pytest.approx(wanted)
    with pytest.raises(SystemExit):
        main(["evaluate", "--model", "gpt2", "--out", "o", "--in", "held.txt", "--trained-on", "train.txt"])
