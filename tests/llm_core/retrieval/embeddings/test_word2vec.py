"""Word vectors: the sentences they come from, what they find, that a run repeats, and models that start from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.params.embeddings import Word2Vec
from llm_core.retrieval.embeddings.measures import analogies, principal, questions
from llm_core.retrieval.embeddings.sentences import LONGEST, Sentences, TokenSentences, words
from llm_core.retrieval.embeddings.word2vec import load_vectors, vectors, word2vec

SMALL = Word2Vec(dimensions=16, window=3, min_count=2, epochs=20, subsample=0, neighbours_of=["cat", "absent"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cats and dogs occur in the same sentences, and so do gold and iron: neighbours are known."""
    draw = np.random.default_rng(7)
    beasts, metals = ["cat", "dog", "horse"], ["gold", "iron", "copper"]
    rows = []
    for number in range(300):
        beast, metal = draw.choice(beasts), draw.choice(metals)
        text = f"The hungry {beast} eats fresh grass in fields. Miners dig heavy {metal} from deep mountain rock."
        rows.append(json.dumps({"id": str(number), "text": text}))
    file = tmp_path_factory.mktemp("corpus") / "documents.jsonl"
    file.write_text("\n".join(rows) + "\n")
    return file


def test_sentences_by_hand() -> None:
    assert words("It's 3 o’clock; Café no. 9\n\nEnd") == [["it's", "o'clock"], ["café", "no"], ["end"]]
    assert [len(row) for row in words("a " * (LONGEST + 5))] == [LONGEST, 5]


def test_the_stream_can_be_read_again(corpus: Path) -> None:
    stream = Sentences([str(corpus)])
    assert list(stream) == list(stream) and len(list(stream)) == 600


@pytest.mark.parametrize("algorithm", ["cbow", "skipgram"])
def test_words_of_the_same_contexts_are_neighbours(corpus: Path, algorithm: str) -> None:
    found = vectors(Sentences([str(corpus)]), algorithm, SMALL, SMALL.dimensions, 1)
    assert {word for word, _ in found.most_similar("cat", topn=2)} == {"dog", "horse"}
    assert {word for word, _ in found.most_similar("iron", topn=2)} == {"gold", "copper"}
    assert found.get_vecattr("hungry", "count") == 300


def test_the_same_corpus_and_seed_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    params = Params(word2vec=SMALL.model_copy(update={"epochs": 2}))
    word2vec([str(corpus)], tmp_path / "a", params)
    word2vec([str(corpus)], tmp_path / "b", params)
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert {"cbow.bin", "skipgram.bin", "cbow.png", "neighbours.json", "maps.json", "metrics.json"} <= set(names)
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    near = json.loads((tmp_path / "a" / "neighbours.json").read_text())
    assert len(near["cbow"]["cat"]) == SMALL.neighbours and "absent" not in near["cbow"]
    assert load_vectors(tmp_path / "a" / "cbow.bin").vectors.shape[1] == 16


def test_too_small_a_corpus_is_told(corpus: Path) -> None:
    with pytest.raises(UserError, match=r"word2vec\.min_count 1000"):
        vectors(Sentences([str(corpus)]), "cbow", SMALL.model_copy(update={"min_count": 1000}), 8, 1)


def test_analogies_are_gensims(corpus: Path) -> None:
    """Our batched answers equal gensim's own on vectors that answer some questions and not others."""
    from gensim.models import KeyedVectors

    from llm_core.retrieval.embeddings.measures import packaged

    names = sorted({word for rows in questions().values() for row in rows for word in row})
    draw = np.random.default_rng(3)
    keyed = KeyedVectors(8)
    keyed.add_vectors(names, draw.normal(size=(len(names), 8)).astype(np.float32))
    sections = {"family": questions()["family"], "currency": questions()["currency"]}
    own = {
        part["section"]: len(part["correct"])
        for part in keyed.evaluate_word_analogies(str(packaged("questions-words.txt")), case_insensitive=False)[1]
    }
    ours = analogies(keyed, sections)
    assert ours["family"]["asked"] == len(sections["family"]) == 506
    assert round(ours["family"]["accuracy"] * 506) == own["family"]


def test_principal_components_of_a_line_lie_on_one_axis() -> None:
    places = principal(np.array([[0.0, 0, 0], [1, 1, 0], [2, 2, 0], [3, 3, 0]]))
    assert np.allclose(places[:, 1], 0) and np.allclose(np.diff(places[:, 0]), 2**0.5)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Token shards and a tokenizer, made by the stages themselves."""
    import pyarrow as pa

    from llm_core.formats.token_shards import TokenWriter, token_schema
    from llm_core.params.tokenizer import Tokenizer
    from llm_core.tokenization.training.stage import train_tokenizer

    folder = tmp_path_factory.mktemp("tokens")
    texts = [f"the cat eats grass and the dog eats meat number {number}" for number in range(80)]
    rows = "".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts))
    (folder / "d.jsonl").write_text(rows)
    train_tokenizer([folder / "d.jsonl"], folder / "tokenizer", Tokenizer(vocab_size=300), seed=1)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    schema = token_schema(len(tokenizer))
    with TokenWriter(folder / "tokens" / "train", schema) as writer:
        columns = [[str(n) for n in range(80)], ["pets"] * 80, [len(text) for text in texts], encoded]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        writer.write(pa.record_batch(arrays, schema=schema))
    return {"folder": folder, "encoded": encoded, "vocabulary": len(tokenizer)}


def test_a_model_starts_from_token_vectors_and_names_all_documents(tokens: dict[str, Any], tmp_path: Path) -> None:
    import torch

    from llm_core.lineage.training import ancestry, documents
    from llm_core.models.family import family
    from llm_core.models.loading import load_network
    from llm_core.params.model import Model
    from llm_core.params.pretraining import Pretraining
    from llm_core.retrieval.embeddings.initialize import initialize
    from llm_core.training.pretraining.assemble import fresh_network, load_tokenizer

    folder = tokens["folder"]
    assert next(iter(TokenSentences(folder / "tokens" / "train"))) == [str(token) for token in tokens["encoded"][0]]
    params = Params(
        word2vec=SMALL.model_copy(update={"epochs": 1}), model=Model(layers=1, width=32, heads=2),
        pretraining=Pretraining(sequence_length=32),
    )  # fmt: skip
    out = tmp_path / "initial"
    metrics = initialize(folder / "tokens", folder / "tokenizer", out, params, "cbow")
    counts = np.bincount(np.concatenate(tokens["encoded"]), minlength=metrics["of"])
    assert metrics["tokens"] == int((counts >= 2).sum()) > 10

    _, vocabulary, _ = load_tokenizer(folder / "tokenizer", family("llama"))
    fresh = fresh_network(params, vocabulary)
    started = load_network(out)
    before, after = fresh.get_input_embeddings().weight, started.get_input_embeddings().weight
    changed = (before != after).any(1).numpy()
    assert np.array_equal(changed, counts >= 2)  # rare and special tokens keep their random rows
    assert torch.isclose(after[torch.tensor(changed)].std(), before.std(), rtol=0.02)
    others = [name for name, _ in fresh.named_parameters() if "embed" not in name and "lm_head" not in name]
    assert all(torch.equal(fresh.get_parameter(name), started.get_parameter(name)) for name in others)

    (record,) = ancestry(out)
    named = {name for batch in documents(record) for name in batch["id"].to_pylist()}
    assert named == {str(number) for number in range(80)}
