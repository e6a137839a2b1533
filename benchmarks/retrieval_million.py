"""A million passages: what the index costs, and what a query costs.

    python benchmarks/retrieval_million.py --documents data/split/train --passages 1000000 --out /tmp/million

BM25 is the product's own (`bm25s`, tokens as in `llm_core.retrieval.index`). The available corpus
has fewer passages than a million, so further ones are made by a bigram model of it: word
frequencies, sentence lengths and the growth of postings are the corpus's, but the texts make no sense.
Dense vectors are random unit vectors of MiniLM's width, because embedding a million passages takes
hours on two cores: time, size and memory of exact search do not depend on the values
(recall does, and is not measured here). `--embed N` times the real encoder on N passages, from which
the time for all is extrapolated. Sizes are those of the files; memory is the process's peak, and after a
fresh start of a process that only opens the index and asks.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 384
ASKED = 12


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--documents", required=True, help="documents that passages are made from")
    options.add_argument("--passages", type=int, default=1_000_000)
    options.add_argument("--words", type=int, default=60, help="words of a passage")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--embed", type=int, default=0, help="passages to time the packaged encoder on")
    options.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.ask:
        print(json.dumps(ask(given.out)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"passages": given.passages, "words_of_a_passage": given.words}
    figures |= build_sparse(given.documents, given.passages, given.words, given.out)
    figures |= build_dense(given.passages, given.out)
    figures["build_peak_memory_mb"] = peak()
    if given.embed:
        figures |= embed(given.documents, given.embed, given.words, given.passages)
    command = [sys.executable, __file__, "--ask", "--documents", given.documents, "--out", str(given.out)]
    figures |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    print(json.dumps(figures, indent=2))


def texts_of(documents: str, words: int) -> list[str]:
    """The corpus's own passages."""
    from llm_core.formats.documents import read_documents
    from llm_core.retrieval.passages import cut

    found = []
    for batch in read_documents([documents], ["text"]):
        for text in batch["text"].to_pylist():
            found += [text[start:stop] for start, stop in cut(text, words, 0)]
    return found


def synthetic(ids: list[list[int]], count: int, words: int, seed: int) -> Any:
    """`count` passages of `words` token ids drawn from a bigram model of `ids`: int32 [count, words]."""
    draw = np.random.default_rng(seed)
    flow = np.concatenate([np.asarray(row, np.int32) for row in ids if row])
    order = np.argsort(flow[:-1], kind="stable").astype(np.int32)
    size = int(flow.max()) + 1
    starts = np.searchsorted(flow[:-1][order], np.arange(size + 1)).astype(np.int64)
    made = np.empty((count, words), np.int32)
    made[:, 0] = flow[draw.integers(0, len(flow) - 1, count)]
    for place in range(1, words):
        previous = made[:, place - 1]
        low, high = starts[previous], starts[previous + 1]
        picked = low + (draw.random(count) * np.maximum(high - low, 1)).astype(np.int64)
        made[:, place] = flow[order[np.minimum(picked, len(order) - 1)] + 1]
    return made


def build_sparse(documents: str, count: int, words: int, out: Path) -> dict[str, Any]:
    """Index the corpus's passages and synthetic ones by BM25; the figures."""
    import bm25s

    from llm_core.retrieval.index import tokenize

    real = texts_of(documents, words)[:count]
    begun = time.process_time()
    tokens = tokenize(real)
    tokenizing = time.process_time() - begun
    rows = list(tokens.ids)
    stopless = max(int(np.mean([len(row) for row in rows])), 2)
    rows += synthetic(rows, count - len(rows), stopless, 1).tolist()
    corpus = bm25s.tokenization.Tokenized(ids=rows, vocab=tokens.vocab)
    begun, wall = time.process_time(), time.perf_counter()
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    index.index(corpus, show_progress=False)
    index.save(str(out / "bm25"), show_progress=False)
    names = list(tokens.vocab)
    draw = np.random.default_rng(2)
    asked = [[names[word] for word in rows[row][:6] if word < len(names)] for row in draw.integers(0, count, ASKED)]
    (out / "questions.json").write_text(json.dumps(asked))
    return {
        "real_passages": len(real), "words_without_stop_words": stopless, "vocabulary": len(tokens.vocab),
        "tokenize_cpu_seconds_a_million": round(tokenizing / len(real) * 1e6, 1),
        "bm25_index_cpu_seconds": round(time.process_time() - begun, 1),
        "bm25_index_wall_seconds": round(time.perf_counter() - wall, 1),
        "bm25_size_mb": size(out / "bm25"),
    }  # fmt: skip


def build_dense(count: int, out: Path) -> dict[str, Any]:
    """Random unit vectors in the index's own layout (float16); one block of them, repeated."""
    vectors = np.lib.format.open_memmap(out / "vectors.npy", mode="w+", dtype=np.float16, shape=(count, WIDTH))
    block = np.random.default_rng(3).standard_normal((1 << 14, WIDTH), np.float32)
    block = (block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16)
    for start in range(0, count, len(block)):
        vectors[start : start + len(block)] = block[: count - start]
    vectors.flush()
    return {"dense_size_mb": size(out / "vectors.npy")}


def ask(out: Path) -> dict[str, Any]:
    """Open the index as `llm_core.retrieval` does and ask; medians over ASKED queries."""
    import bm25s

    from llm_core.retrieval.search import _best, fuse, products

    begun = time.process_time()
    index = bm25s.BM25.load(str(out / "bm25"), mmap=True, show_progress=False)
    vectors = np.load(out / "vectors.npy", mmap_mode="c")
    opened = time.process_time() - begun
    draw = np.random.default_rng(4)
    timed: dict[str, list[float]] = {"bm25": [], "dense": [], "hybrid": []}
    for words in json.loads((out / "questions.json").read_text()):
        query = draw.standard_normal(WIDTH, np.float32)
        begun = time.process_time()
        sparse = index.retrieve([words], k=100, show_progress=False).documents[0].tolist()
        middle = time.process_time()
        dense = _best(products(vectors, query), 100).tolist()
        ended = time.process_time()
        fuse([sparse, dense], 60)
        done = time.process_time()
        timed["bm25"].append(middle - begun)
        timed["dense"].append(ended - middle)
        timed["hybrid"].append(done - begun)
    figures: dict[str, Any] = {"open_cpu_seconds": round(opened, 2), "asked": ASKED}
    for name, seconds in timed.items():
        figures[f"{name}_query_cpu_ms_median"] = round(float(np.median(seconds)) * 1e3, 1)
        figures[f"{name}_query_cpu_ms_p95"] = round(float(np.quantile(seconds, 0.95)) * 1e3, 1)
    return figures | {"ask_peak_memory_mb": peak()}


def embed(documents: str, count: int, words: int, passages: int) -> dict[str, Any]:
    """CPU seconds of the real encoder on `count` passages spread over the corpus, and what `passages` would take."""
    from llm_core.retrieval.encoders import Encoder

    real = texts_of(documents, words)
    chosen = real[:: max(len(real) // count, 1)][:count]
    encoder = Encoder()
    encoder(chosen[:16])
    begun = time.process_time()
    encoder(chosen)
    each = (time.process_time() - begun) / len(chosen)
    return {
        "embed_cpu_ms_a_passage": round(each * 1e3, 2),
        "embed_cpu_hours_for_all_reckoned": round(each * passages / 3600, 2),
    }


def size(path: Path) -> float:
    """Megabytes of a file or folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def peak() -> float:
    """The process's peak memory in megabytes (mapped pages that were touched count).

    From /proc, because `getrusage` of a started process begins at the size of the one that started it.
    """
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1e3, 1)


if __name__ == "__main__":
    main()
