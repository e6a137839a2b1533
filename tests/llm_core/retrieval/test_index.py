"""The index: search results, extension with the same result as one build, and takedowns."""

import filecmp
import json
from pathlib import Path

import bm25s
import numpy as np
import pytest

from llm_core.errors import UserError
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.index import Index, build, tokenize
from llm_core.retrieval.search import BLOCK, Search, fuse, products

PARAMS = Retrieval(passage_words=16, overlap_words=4)
TEXTS = {
    "France": "Paris is the capital of France. The river Seine runs through the city and wine is made in the south.",
    "Japan": "Tokyo is the capital of Japan. Its islands lie in the Pacific and rice is grown there.",
    "Kenya": "Nairobi is the capital of Kenya. Tea and coffee are exported; Lake Victoria lies in the west.",
    "Norway": "Oslo is the capital of Norway. Fish and petroleum are sold abroad and the winters are long.",
    "Peru": "Lima is the capital of Peru. The Andes cross the country, and copper is mined in them.",
}


def corpus(folder: Path, *names: str) -> str:
    file = folder / f"{'-'.join(names)}.jsonl"
    rows = [{"id": n, "source": "atlas", "text": TEXTS[n], "metadata": {"title": n}} for n in names]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build([corpus(folder, *TEXTS)], folder / "index", PARAMS, folder / "no-takedowns")
    return folder / "index"


def found(index: Path, question: str, method: str) -> str:
    opened = Index(index)
    return str(opened.passage(Search(opened, PARAMS)(question, 3, method)[0].passage)["document_id"])  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["bm25", "dense", "hybrid"])
def test_every_method_finds_the_country(built: Path, method: str) -> None:
    assert found(built, "What is the capital of Kenya?", method) == "Kenya"


def test_dense_search_needs_no_common_word(built: Path) -> None:
    assert Search(Index(built), PARAMS).bm25("Scandinavian monarchy", 3) == []
    assert found(built, "Scandinavian monarchy", "hybrid") == "Norway"


@pytest.mark.parametrize(
    ("texts", "question", "best"),
    [
        (["小镇附近的河流与山丘", "渔民在海边生活"], "河流", 0),
        (["แม่น้ำไหลผ่านเมือง", "ภูเขาสูง"], "ภูเขา", 1),
        (["दिन अच्छा है", "दान अच्छा है"], "दान", 1),
        (["a day", "don't"], "don", 1),
    ],
)
def test_bm25_finds_words_of_every_script(texts: list[str], question: str, best: int) -> None:
    sparse = bm25s.BM25(method="lucene")
    sparse.index(tokenize(texts), show_progress=False)
    assert int(np.argmax(sparse.get_scores(list(tokenize([question]).vocab)))) == best


def test_bm25_scores_are_the_librarys(built: Path) -> None:
    opened = Index(built)
    texts = [f"{row['title']}\n{row['text']}" for row in opened.table.to_pylist()]
    own = bm25s.BM25(k1=PARAMS.k1, b=PARAMS.b, method="lucene")
    own.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    for question in ("capital of Peru copper", "Pacific rice", "the river"):
        scores = own.get_scores(list(bm25s.tokenize(question, stopwords="en", show_progress=False).vocab))
        ours = dict(Search(opened, PARAMS).bm25(question, len(texts)))
        assert ours == {number: score for number, score in enumerate(scores.tolist()) if score > 0}


def test_an_index_that_grew_is_the_one_built_at_once(built: Path, tmp_path: Path) -> None:
    names = list(TEXTS)
    some = corpus(tmp_path, *names[:2])
    build([some], tmp_path / "index", PARAMS, tmp_path / "none")
    build([corpus(tmp_path, *names)], tmp_path / "index", PARAMS, tmp_path / "none")
    files = sorted(str(file.relative_to(built)) for file in built.rglob("*") if file.is_file())
    assert filecmp.cmpfiles(built, tmp_path / "index", files, shallow=False)[0] == files


def test_a_vector_does_not_depend_on_its_batch(built: Path) -> None:
    from llm_core.retrieval.encoders import Encoder

    encoder = Encoder()
    texts = [*TEXTS.values(), "short", "two words"]
    together = encoder(texts)
    assert np.array_equal(together, np.concatenate([encoder([text]) for text in texts]))
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_takedown_leaves_the_index_and_comes_back(built: Path, tmp_path: Path) -> None:
    documents, tombstones = corpus(tmp_path, *TEXTS), tmp_path / "takedowns.jsonl"
    tombstones.write_text(json.dumps({"id": "Peru", "reason": "asked"}) + "\n")
    metrics = build([documents], tmp_path / "index", PARAMS, tombstones)
    assert metrics["documents_removed"] == 1
    assert "Peru" not in {row["document_id"] for row in Index(tmp_path / "index").table.to_pylist()}
    tombstones.unlink()
    build([documents], tmp_path / "index", PARAMS, tombstones)
    assert filecmp.cmp(built / "vectors.npy", tmp_path / "index" / "vectors.npy", shallow=False)


def test_products_in_blocks_are_the_plain_product() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((2 * BLOCK + 5, 32)).astype(np.float16)
    query = draw.standard_normal(32).astype(np.float32)
    assert np.allclose(products(vectors, query), vectors.astype(np.float64) @ query, atol=1e-4)


def test_fusion_by_hand() -> None:
    assert fuse([[7, 8], [8, 9]], 60) == [(8, 1 / 62 + 1 / 61), (7, 1 / 61), (9, 1 / 62)]


def test_what_cannot_be_indexed_or_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"retrieval\.sources: no such name: other \(there are atlas\)"):
        build(
            [corpus(tmp_path, "Peru")],
            tmp_path / "o",
            PARAMS.model_copy(update={"sources": ["other"]}),
            tmp_path / "none",
        )
    (tmp_path / "wordless.jsonl").write_text('{"text": "The ... a"}\n{"text": "!!!"}\n')
    with pytest.raises(UserError, match=r"wordless.jsonl: no word to search for in 2 passages"):
        build([str(tmp_path / "wordless.jsonl")], tmp_path / "o", PARAMS, tmp_path / "none")
    with pytest.raises(UserError, match="contains no index"):
        Index(tmp_path)
    build([corpus(tmp_path, "Peru")], tmp_path / "o", PARAMS.model_copy(update={"encoder": "none"}), tmp_path / "none")
    with pytest.raises(UserError, match="has no vectors"):
        Search(Index(tmp_path / "o"), PARAMS)("capital", 3, "dense")
    assert [hit.similarity for hit in Search(Index(tmp_path / "o"), PARAMS)("capital", 3)] == [None]
    assert tokenize(["The capital"]).vocab.keys() == {"capital"}
