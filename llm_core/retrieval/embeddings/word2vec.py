"""Word2Vec by gensim: vectors of the corpus's words, nearest neighbours, analogies, and a plot.

Both algorithms are trained on the same sentences: CBOW predicts a word from its context
(fast, better for frequent words), skip-gram the context from a word (several times slower,
better for rare ones). With one worker the same corpus and seed give the same bytes. Vectors
are stored in word2vec's own binary format, which gensim, spaCy and fastText read; no pickles.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_core.errors import UserError, require_known
from llm_core.formats.documents import count_documents
from llm_core.params import Params
from llm_core.params.embeddings import Word2Vec
from llm_core.retrieval.embeddings.measures import analogies, neighbours, plot, similarity, word_map
from llm_core.retrieval.embeddings.sentences import Sentences
from llm_core.runtime import progress
from llm_core.runtime.nested import flatten
from llm_core.runtime.storage import output_folder, write_json
from llm_core.tracking import runs

ALGORITHMS = {"cbow": 0, "skipgram": 1}  # gensim's `sg`


def vectors(sentences: Iterable[list[str]], algorithm: str, params: Word2Vec, dimensions: int, seed: int) -> Any:
    """Trained gensim KeyedVectors, most frequent word first. Raises UserError where no word is frequent enough."""
    from gensim.models import Word2Vec as Gensim

    model = Gensim(
        vector_size=dimensions, window=params.window, min_count=params.min_count, max_final_vocab=params.max_vocabulary,
        sg=ALGORITHMS[algorithm], negative=params.negative, sample=params.subsample, workers=params.workers, seed=seed,
    )  # fmt: skip
    model.build_vocab(sentences)
    if not len(model.wv):
        raise UserError(f"word2vec.min_count {params.min_count}: no word of the corpus occurs so often")
    model.train(sentences, total_examples=model.corpus_count, epochs=params.epochs)
    return model.wv


def word2vec(inputs: list[str], out: Path, params: Params) -> dict[str, Any]:
    """Train both algorithms on the documents at `inputs`; vectors, neighbours, plot and metrics go to `out`."""
    settings = params.word2vec
    documents = count_documents(inputs)
    total = documents * (settings.epochs + 1) if documents else None
    metrics: dict[str, Any] = {}
    near: dict[str, Any] = {}
    maps: dict[str, Any] = {}
    with output_folder(out) as folder:
        for algorithm in ALGORITHMS:
            with progress.task(f"word2vec {algorithm}", total=total) as work:
                trained = vectors(
                    Sentences(inputs, work), algorithm, settings, settings.dimensions, params.seed
                )  # fmt: skip
            if "neighbours_of" in settings.model_fields_set:  # the default words may be missing in a small corpus
                require_known(settings.neighbours_of, trained.index_to_key, "word2vec.neighbours_of")
            trained.save_word2vec_format(str(folder / f"{algorithm}.bin"), binary=True)
            counts = [trained.get_vecattr(word, "count") for word in trained.index_to_key]
            metrics |= {"vocabulary": len(counts), "words": int(sum(counts))}
            metrics[algorithm] = {"analogies": analogies(trained), "wordsim353": similarity(trained)}
            near[algorithm] = neighbours(trained, settings.neighbours_of, settings.neighbours)
            maps[algorithm] = word_map(trained)
            plot(maps[algorithm], folder / f"{algorithm}.png", algorithm)
        write_json(folder / "neighbours.json", near)
        write_json(folder / "maps.json", maps)
        write_json(folder / "metrics.json", metrics)
    with runs.run("word2vec", flatten(settings, "word2vec.")) as run:
        run.metrics(_figures(metrics))
        for algorithm in ALGORITHMS:
            run.artifact(out / f"{algorithm}.png")
    return metrics


def load_vectors(file: Path) -> Any:
    """KeyedVectors of a file that `word2vec` wrote; its vocabulary bounds the memory."""
    from gensim.models import KeyedVectors

    if not file.is_file():
        raise UserError(f"{file}: no such file; `llm-core word2vec` writes one")
    return KeyedVectors.load_word2vec_format(str(file), binary=True)


def _figures(metrics: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {"vocabulary": metrics["vocabulary"], "words": metrics["words"]}
    for algorithm in ALGORITHMS:
        found = metrics[algorithm]
        figures |= {
            f"{algorithm}.analogy_accuracy": found["analogies"]["all"]["accuracy"],
            f"{algorithm}.wordsim353": found["wordsim353"]["spearman"],
        }
    return figures
