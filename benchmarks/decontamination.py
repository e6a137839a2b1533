"""Precision and recall of decontamination on a labelled set: benchmark items planted into documents.

    python benchmarks/decontamination.py --benchmarks data/benchmarks --in data/clean/addresses data/clean/bible

Each item drawn is planted once in each of these ways, into a document of its own (real text around it):

| label | how | must leave |
| --- | --- | --- |
| exact | unchanged, in capitals, and with other punctuation and spacing | yes |
| edited | one word of every 40 replaced, at least one | yes |
| heavily_edited | one word of every 10 replaced | yes |
| quoted | its first third only: what any text on the subject may quote | no |
| boilerplate | an instruction that many items begin with, without the item | no |
| shuffled | its words in another order | no |
| unrelated | no item at all | no |

`plant` makes the set (the tests use it too); the table shows the result for each threshold. A document counts as found
only if the ledger names the item that was planted in it.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.corpus.decontamination.stage import decontaminate
from llm_core.formats.documents import DocumentWriter, read_documents
from llm_core.formats.ledger import read_ledger
from llm_core.params.decontamination import Decontamination

MUST_LEAVE = {"exact", "edited", "heavily_edited"}
LABELS = ("exact", "edited", "heavily_edited", "quoted", "boilerplate", "shuffled", "unrelated")
BOILERPLATE = (
    "Read the following passage with care and then answer the question below it by choosing the one best option "
    "among those that are given"
)
FEWEST_WORDS = 20  # shorter items have too few 13-grams for the labels to mean anything


def plant(items: dict[str, str], texts: list[str], seed: int = 1) -> list[dict[str, Any]]:
    """Documents with their label and the item planted: rows of `id`, `text`, `label`, `item` (None for none)."""
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for item, text in items.items():
        words = text.split()
        forms = {
            "exact": "  ".join(words).upper().replace(".", " ;"),
            "edited": " ".join(_replaced(words, max(1, len(words) // 40), draw)),
            "heavily_edited": " ".join(_replaced(words, max(2, len(words) // 10), draw)),
            "quoted": " ".join(words[: len(words) // 3]),
            "boilerplate": BOILERPLATE,
            "shuffled": " ".join(draw.sample(words, len(words))),
            "unrelated": "",
        }
        for label in LABELS:
            before, after = draw.choice(texts), draw.choice(texts)
            row = {"id": f"{label}/{item}", "text": f"{before}\n{forms[label]}\n{after}", "label": label}
            rows.append(row | {"item": item if label in MUST_LEAVE else None})
    draw.shuffle(rows)
    return rows


def judge(folder: Path, benchmarks: Path, rows: list[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """Decontaminate the planted documents: share dropped by label, precision, recall, items touched."""
    with DocumentWriter(folder / "in/documents") as writer:
        writer.write_rows([{"id": row["id"], "source": "planted", "text": row["text"]} for row in rows])
    decontaminate([str(folder / "in")], [str(benchmarks)], folder / "out", Decontamination(threshold=threshold))
    blamed = {row["id"]: row["detail"] for batch in read_ledger(folder / "out") for row in batch.to_pylist()}
    dropped = [row for row in rows if blamed[row["id"]]]
    right = sum(row["item"] is not None and blamed[row["id"]].endswith(f"/{row['item']}") for row in dropped)
    touched = [json.loads(line) for line in (folder / "out/touched_items.jsonl").read_text().splitlines()]
    shares = {
        label: sum(row["label"] == label for row in dropped) / sum(row["label"] == label for row in rows)
        for label in LABELS
    }
    return {
        "dropped": shares,
        "precision": right / len(dropped) if dropped else 1.0,
        "recall": right / sum(row["item"] is not None for row in rows),
        "touched": {row["id"] for row in touched},
    }


def _replaced(words: list[str], count: int, draw: random.Random) -> list[str]:
    words = list(words)
    for place in draw.sample(range(len(words)), count):
        words[place] = "otherwise"
    return words


def _drawn(benchmarks: Path, count: int) -> Iterator[tuple[str, str]]:
    """Items of `benchmarks`, evenly from its files, with an instruction before every second one."""
    files = sorted(benchmarks.glob("*.jsonl"))
    for file in files:
        taken = 0
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
            row = json.loads(line)
            text = " ".join(
                value for key, value in row.items() if isinstance(value, str) and key not in {"id", "label"}
            )
            if len(text.split()) >= FEWEST_WORDS and taken < count // len(files) + 1:
                taken += 1
                yield f"{file.stem}-{row.get('id', taken)}", text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of JSONL files (data/benchmarks)")
    parser.add_argument("--in", dest="inputs", nargs="+", required=True, help="documents to plant the items into")
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.1, 0.3, 0.5, 0.7, 1.0])
    chosen = parser.parse_args()
    items = dict(_drawn(chosen.benchmarks, chosen.items))
    texts = [text[:1500] for batch in read_documents(chosen.inputs, ["text"]) for text in batch["text"].to_pylist()]
    rows = plant(items, texts)
    print(f"{len(items)} items, {len(rows)} documents")
    print("threshold  precision  recall  " + "  ".join(LABELS))
    for threshold in chosen.thresholds:
        with tempfile.TemporaryDirectory() as name:
            bench = Path(name) / "bench/drawn.jsonl"
            bench.parent.mkdir()
            lines = [
                json.dumps({"id": item, "text": f"{BOILERPLATE} {text}" if number % 2 else text})
                for number, (item, text) in enumerate(items.items())
            ]
            bench.write_text("\n".join(lines), encoding="utf-8")
            found = judge(Path(name), bench.parent, rows, threshold)
        shares = "  ".join(f"{found['dropped'][label]:{len(label)}.3f}" for label in LABELS)
        print(f"{threshold:9.2f}  {found['precision']:9.4f}  {found['recall']:6.4f}  {shares}")


if __name__ == "__main__":
    main()
