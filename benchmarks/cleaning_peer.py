"""datatrove's verdicts and CPU time on a corpus; run by a Python that has datatrove, not by the project's.

`PEER/bin/python benchmarks/cleaning_peer.py CORPUS.parquet OUT.jsonl [LIMIT]` writes for each document datatrove's
verdict and reason: each of the four filters on the document as it is, and the published FineWeb sequence. The last line
holds the sequence's CPU seconds.
"""

import json
import sys
import time
import traceback

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.base_filter import get_filter_result


def sequence():
    """The quality part of https://github.com/huggingface/datatrove/blob/main/examples/fineweb.py."""
    return [
        ("gopher_repetition", GopherRepetitionFilter()),
        ("gopher_quality", GopherQualityFilter()),
        ("c4", C4QualityFilter(filter_no_terminal_punct=False)),
        ("fineweb_quality", FineWebQualityFilter()),
    ]


def verdict(filter_, text):
    """[kept, reason, text afterwards if it is another]."""
    doc = Document(text=text, id="0")
    try:
        kept, reason = get_filter_result(filter_.filter(doc))
    except Exception as error:  # the peer's own failure is a finding
        return ["error", f"{type(error).__name__}: {error}", None]
    return [bool(kept), reason, doc.text if kept and doc.text != text else None]


def main(corpus, out, limit=None):
    table = pq.read_table(corpus).slice(0, int(limit) if limit else None)
    texts = table["text"].to_pylist()
    filters = sequence()
    for _, filter_ in filters:  # warm: import and build spaCy's tokenizer
        verdict(filter_, "Some warm text. " * 30)
    results = []
    began = time.process_time()
    for text in texts:
        doc = Document(text=text, id="0")
        result = [True, None, None]
        for name, filter_ in filters:
            try:
                kept, reason = get_filter_result(filter_.filter(doc))
            except Exception:
                traceback.print_exc()
                result = ["error", name, None]
                break
            if not kept:
                result = [False, f"{name}:{reason}", None]
                break
        else:
            result = [True, None, doc.text if doc.text != text else None]
        results.append(result)
    seconds = time.process_time() - began
    alone = dict(sequence(), c4=C4QualityFilter(), c4_fineweb=C4QualityFilter(filter_no_terminal_punct=False))
    with open(out, "w") as stream:
        for number, (text, result) in enumerate(zip(texts, results, strict=True)):
            row = {"row": number, "fineweb": result}
            if limit is None or limit == "all":
                row |= {name: verdict(filter_, text) for name, filter_ in alone.items()}
            stream.write(json.dumps(row) + "\n")
        stream.write(json.dumps({"documents": len(texts), "cpu_seconds": seconds}) + "\n")
    print(f"datatrove: {len(texts)} documents, {seconds:.1f} CPU seconds, {len(texts) / seconds:.1f} a CPU-second")


if __name__ == "__main__":
    main(*sys.argv[1:])
