"""Pairs of a query and its passage, on which `finetune contrastive` trains an encoder for search.

Two kinds. The inverse cloze task (Lee et al., arXiv:1906.00300) needs only text: a line of a passage is the query, and
the passage without it the answer. One line in CLOZE stays in its passage, so that common words count too. Questions
whose answers and documents are known (rows of `finetune-data instruction`) ask for the passage that holds the answer.
Passages are cut and titled as the index does it.

The sides are separated by document: those that `split` held out of pretraining are for testing; those of a question are
on the question's side.
"""

import heapq
import random
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llm_core.errors import require_known
from llm_core.evaluation.answer_matching import holds
from llm_core.formats.documents import read_documents
from llm_core.kernels.sentences import sentences
from llm_core.kernels.words import pieces
from llm_core.params import Params
from llm_core.retrieval.passages import passages, titled
from llm_core.runtime import progress
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.rows import SIDES

Row = dict[str, Any]
CLOZE = 10
LEAST_WORDS = 4  # minimum words of a query that is a line


def build_pairs(split: Path, questions: dict[str, list[Row]], params: Params) -> dict[str, list[Row]]:
    """Side -> rows `id, kind, query, passage, documents` of the documents in `split` (`train`, `heldout`).

    Maximum `retrieval.pairs` pairs of lines for each side, drawn by a hash, so memory does not grow with the corpus.
    """
    asked: dict[str, list[tuple[str, Row]]] = {}  # id of a document -> (side, question) about it
    for side, rows in questions.items():
        for row in rows:
            for document in row.get("documents", ()):
                asked.setdefault(document, []).append((side, row))
    answered: dict[str, list[Row]] = {side: [] for side in SIDES}
    drawn: dict[str, list[tuple[int, str, Row]]] = {side: [] for side in SIDES}
    share = params.finetuning.run("contrastive").data.heldout_share
    with progress.task("pairs") as work:
        for side, document in _documents(split, params):
            about = asked.get(document[0]["document_id"], [])
            if about:
                side = about[0][0]
            elif side == "train" and int(short_hash(document[0]["document_id"])[:8], 16) < share * 2**32:
                side = "heldout"
            for named, row in about:
                answered[named].extend(_answering(row, document))
            for passage in document:
                rank = int(short_hash(str(params.seed), passage["id"])[:15], 16)
                full = len(drawn[side]) == params.retrieval.pairs
                if (full and rank >= -drawn[side][0][0]) or not (pair := _cloze(passage, params.seed)):
                    continue
                heapq.heappush(drawn[side], (-rank, passage["id"], pair))
                if full:
                    heapq.heappop(drawn[side])
            work.update()
    return {side: answered[side] + [row for *_, row in sorted(drawn[side], key=lambda one: one[:2])] for side in SIDES}


def _documents(split: Path, params: Params) -> Iterator[tuple[str, list[Row]]]:
    """(side, passages) of each document of `retrieval.sources`."""
    settings = params.retrieval
    seen: set[str] = set()
    for folder, side in (("train", "train"), ("heldout", "test")):
        batches = read_documents(split / folder, ["id", "source", "url", "text", "metadata"])
        if settings.sources is not None:
            batches = _of_sources(batches, settings.sources, seen)
        for rows in passages(batches, settings.passage_words, settings.overlap_words):
            for _, document in groupby(rows, key=itemgetter("document_id")):
                yield side, list(document)
    if settings.sources is not None:
        require_known(settings.sources, seen, "retrieval.sources")


def _of_sources(batches: Iterable[pa.RecordBatch], sources: list[str], seen: set[str]) -> Iterator[pa.RecordBatch]:
    """The rows of `sources`; the names of all sources in the batches are added to `seen`."""
    chosen = pa.array(sources, pa.string())
    for batch in batches:
        seen.update(pc.unique(batch["source"]).to_pylist())
        yield batch.filter(pc.is_in(batch["source"], chosen))


def _answering(question: Row, document: list[Row]) -> list[Row]:
    """The pair of a question and the first passage that contains its answer, after its field's name where it has
    one."""
    answer = question.get("answer", "")
    holding = [row for row in document if holds(row["text"], answer)]
    named = [row for row in holding if question.get("field", "") in row["text"]]
    if not holding:
        return []
    passage = (named or holding)[0]
    return [_pair("question", f"{question['id']}-{passage['id']}", question["messages"][-2]["content"], passage)]


def _cloze(passage: Row, seed: int) -> Row | None:
    """A line of a passage and the passage without it; None if no line is long enough, or the line is all of it."""
    draw = random.Random(f"{seed}-{passage['id']}")
    lines = sentences(passage["text"])
    long = [line for line in lines if len(pieces(line)) >= LEAST_WORDS]
    if not long or len(lines) < 2:
        return None
    line = draw.choice(long)
    rest = passage if draw.randrange(CLOZE) == 0 else {**passage, "text": passage["text"].replace(line, "", 1).strip()}
    return _pair("line", passage["id"], line, rest)


def _pair(kind: str, name: str, query: str, passage: Row) -> Row:
    return {
        "id": short_hash(kind, name),
        "kind": kind,
        "query": query,
        "passage": titled(passage["title"], passage["text"]),
        "documents": [passage["document_id"]],
    }
