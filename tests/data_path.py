"""The data path on a small corpus, as one process: `python -m tests.data_path WORK RUNNER [STAGE …]`.

Reads WORK/corpus and WORK/items.txt, which `write_corpus` makes, and writes WORK/RUNNER/STAGE. A stage named alone
reads what the stages before it have written to WORK/local. Row groups and pieces are made small, so that a small corpus
has many of them.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from llm_core.formats import documents, pieces
from llm_core.formats.pieces import connected
from llm_core.params import Params
from llm_core.params.launch import PieceLaunch

PIECE_BYTES, ROWS = 1 << 17, 100  # bytes of a piece, rows of a row group
FILES, DOCUMENTS = 16, 3200
SYLLABLES = (("ka", "lo", "mi", "stre", "th"), ("ran", "vel", "dor", "t"), ("a", "ing", "s"))
WORDS = ["".join(parts) for parts in product(*SYLLABLES)]
STAGES = ("clean", "dedup", "dedup-text", "decontaminate", "split", "mix", "index", "train-tokenizer", "tokenize")


def write_corpus(work: Path) -> None:
    """Documents of made-up words: some nearly copies, some with an item of a benchmark, and one line that is broken."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = random.Random(1)
    items = [" ".join(draw.choices(WORDS, k=20)) for _ in range(20)]
    (work / "items.txt").write_text("".join(f"{item}\n" for item in items))
    paragraphs = [" ".join(draw.choices(WORDS, k=40)) + "." for _ in range(60)]
    texts: list[str] = []
    for number in range(DOCUMENTS):
        if number % 8 == 7:
            texts.append(texts[number - draw.randrange(1, 8)] + f" New{number}.")
            continue
        words = " ".join(draw.choices(WORDS, k=draw.randrange(60, 400)))
        middle = items[number % 20] if number % 50 == 3 else paragraphs[number % 60]
        texts.append(f"{words}.\n\n{middle}\n\n{' '.join(draw.choices(WORDS, k=30))}.")
    (work / "corpus").mkdir()
    for file in range(FILES):
        rows = range(file, DOCUMENTS, FILES)
        if not file:
            lines = [json.dumps({"id": f"d{row}", "source": "s0", "text": texts[row]}) for row in rows]
            (work / "corpus/00.jsonl").write_text("\n".join([*lines, "{broken"]))
            continue
        columns = {
            "id": [f"d{row}" for row in rows],
            "source": [f"s{row % 3}" for row in rows],
            "text": pa.array([texts[row] for row in rows], pa.large_string()),
        }
        pq.write_table(pa.table(columns), work / f"corpus/{file:02}.parquet", row_group_size=100)


def run(work: Path, runner: str, stages: tuple[str, ...] = STAGES) -> None:
    """Run stages on `runner`."""
    from llm_core.corpus.cleaning.stage import clean
    from llm_core.corpus.decontamination.stage import decontaminate
    from llm_core.corpus.deduplication.stage import dedup
    from llm_core.corpus.deduplication.text.stage import dedup_text
    from llm_core.corpus.mix.stage import mix
    from llm_core.corpus.split.stage import split
    from llm_core.retrieval.index import build
    from llm_core.tokenization.stage import tokenize
    from llm_core.tokenization.training.stage import train_tokenizer

    pieces.PIECE_BYTES, documents.BATCH_ROWS = PIECE_BYTES, ROWS
    names = {"cleaning", "deduplication", "text_deduplication", "decontamination", "split", "mix", "index"}
    names |= {"tokenizer", "tokenization"}
    raw: dict[str, Any] = {"launch": {name: {"runner": runner} for name in names}}
    raw["cleaning"] = {"steps": ["repair", "gopher_repetition"]}
    raw["mix"], raw["retrieval"] = {"temperature": 2}, {"encoder": "none"}
    raw["tokenizer"] = {"vocab_size": 600, "sample_bytes": 2_000_000}
    params = Params.model_validate(raw)
    launch = params.launch
    folder = work / runner
    folder.mkdir(exist_ok=True)
    os.chdir(folder)  # relative names, which ledgers keep, are then the same for every runner
    if stages != STAGES:
        for stage in STAGES[: STAGES.index(stages[0])]:
            shutil.copytree(work / "local" / stage, stage, dirs_exist_ok=True)
    todo: dict[str, Callable[[Path], Any]] = {
        "clean": lambda out: clean(["../corpus"], out, params.cleaning, launch=launch.cleaning),
        "dedup": lambda out: dedup(["clean"], out, params.deduplication, 1, [], launch=launch.deduplication),
        "dedup-text": lambda out: dedup_text(
            ["dedup"], out, params.text_deduplication, 1, [], launch=launch.text_deduplication
        ),
        "decontaminate": lambda out: decontaminate(
            ["dedup-text"], ["../items.txt"], out, params.decontamination, launch=launch.decontamination
        ),
        "split": lambda out: split(["decontaminate"], out, params.split, 1, launch=launch.split),
        "mix": lambda out: mix(Path("split"), out, params.mix, 1, launch=launch.mix),
        "index": lambda out: build(["split/train"], out, params.retrieval, Path("none"), launch=launch.index),
        "train-tokenizer": lambda out: train_tokenizer(["split/train"], out, params.tokenizer, 1, launch.tokenizer),
        "tokenize": lambda out: tokenize(["split"], "train-tokenizer", out, launch.tokenization),
    }
    everything = PieceLaunch.model_validate({"runner": runner})
    with connected(everything, "cleaning"):
        for stage in stages:
            todo[stage](Path(stage))


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:]) or STAGES)
