"""Deduplication against datatrove's MinHash, on real text cut into documents, with near-duplicates planted.

    python benchmarks/deduplication.py prepare --in data/clean/{addresses,factbook,bible,shakespeare} --out WORK
    python benchmarks/deduplication.py run --work WORK --peer PYTHON_WITH_DATATROVE

`prepare` cuts the texts into documents of 20 to 80 words and adds copies of every eighth with words
replaced, cut off or added at the end. `run` starts both programs as separate processes, so imports, the loading of
compiled code and all I/O count for both. It takes the CPU seconds of each with its children and
compares what they dropped: recall is over planted pairs of true Jaccard (5-grams) of 0.8 and
more whose copy and original did not both survive; precision is over all documents dropped, the share
with another document whose similarity is at least the threshold.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from llm_core.corpus.similarity.word_hashes import WordHasher, jaccard, ngrams
from llm_core.formats.documents import read_documents

SHINGLE, THRESHOLD, EVERY = 5, 0.8, 8


def prepare(inputs: list[str], out: Path) -> None:
    generator = random.Random(1)
    documents: list[str] = []
    words: list[str] = []
    wanted = 50
    for batch in read_documents(inputs, ["text"]):
        for text in batch.column("text").to_pylist():
            for word in text.split():
                words.append(word)
                if len(words) == wanted:
                    documents.append(" ".join(words))
                    words, wanted = [], generator.randint(20, 80)
    vocabulary = sorted({word for text in documents[::50] for word in text.split()})
    rows = [{"id": f"o{number:07d}", "text": text} for number, text in enumerate(documents)]
    for number in range(0, len(documents), EVERY):
        words = documents[number].split()
        kind, amount = generator.choice(["replace", "cut", "add"]), generator.randint(0, 6)
        if kind == "replace":
            for place in generator.sample(range(len(words)), amount // 2):
                words[place] = generator.choice(vocabulary)
        elif kind == "cut":
            words = words[: len(words) - amount]
        else:
            words += generator.choices(vocabulary, k=amount)
        rows.append({"id": f"p{number:07d}", "text": " ".join(words)})
    generator.shuffle(rows)
    (out / "in").mkdir(parents=True, exist_ok=True)
    with open(out / "in/corpus.jsonl", "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    print(f"{len(documents)} documents and {len(rows) - len(documents)} planted copies")


def run(work: Path, peer: str) -> None:
    texts = dict(_read(work / "in"))
    hasher = WordHasher()
    shingles = {name: np.unique(ngrams(hasher(text), SHINGLE)) for name, text in texts.items()}
    start = _children()
    tool = [sys.executable, "-m", "llm_core.cli", "dedup", "--in", f"{work}/in", "--out", f"{work}/ours"]
    subprocess.run([*tool, "--takedowns", f"{work}/none"], check=True)
    ours = _children() - start
    report("ours", ours, texts, _ids(work / "ours"), shingles)
    if peer:
        shutil.rmtree(work / "peer", ignore_errors=True)  # it would take up what it finds there
        start = _children()
        program = Path(__file__).with_name("deduplication_peer.py")
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(work), "OMP_NUM_THREADS": "1"}
        with open(work / "peer.log", "w") as log:
            command = [peer, str(program), f"{work}/in", f"{work}/peer"]
            subprocess.run(command, check=True, stdout=log, stderr=log, env=environment)
        theirs = _children() - start
        report("datatrove", theirs, texts, {name for name, _ in _read(work / "peer/kept")}, shingles)
        print(f"ratio of documents per CPU second: {theirs / ours:.1f}")


def report(name: str, seconds: float, texts: dict[str, str], kept: set[str], shingles: dict) -> None:  # type: ignore[type-arg]
    pairs = [(copy, "o" + copy[1:]) for copy in texts if copy[0] == "p"]
    alike = [pair for pair in pairs if jaccard(shingles[pair[0]], shingles[pair[1]]) >= THRESHOLD]
    found = sum(not (a in kept and b in kept) for a, b in alike)
    holders = defaultdict(list)
    for identifier, values in shingles.items():
        for value in values.tolist():
            holders[value].append(identifier)
    dropped = [identifier for identifier in texts if identifier not in kept]
    right = sum(_has_twin(identifier, shingles, holders) for identifier in dropped)
    print(
        f"{name}: {seconds:.1f} CPU s, {len(texts) / seconds:.0f} documents per CPU second, dropped {len(dropped)}, "
        f"recall {found / len(alike):.4f} of {len(alike)} pairs, precision {right / max(len(dropped), 1):.4f}"
    )


def _has_twin(identifier: str, shingles: dict, holders: dict) -> bool:  # type: ignore[type-arg]
    mine = shingles[identifier]
    others = {other for value in mine.tolist() for other in holders[value][:200]} - {identifier}
    return len(mine) == 0 or any(jaccard(mine, shingles[other]) >= THRESHOLD for other in others)


def _read(folder: Path):  # type: ignore[no-untyped-def]
    for file in sorted(folder.glob("*.jsonl")):
        with open(file, encoding="utf-8") as stream:
            for line in stream:
                row = json.loads(line)
                yield row["id"], row["text"]


def _ids(folder: Path) -> set[str]:
    return {name for batch in read_documents(folder, ["id"]) for name in batch.column("id").to_pylist()}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("prepare")
    one.add_argument("--in", dest="inputs", nargs="+", required=True)
    one.add_argument("--out", type=Path, required=True)
    two = verbs.add_parser("run")
    two.add_argument("--work", type=Path, required=True)
    two.add_argument("--peer", default="")
    chosen = parser.parse_args()
    prepare(chosen.inputs, chosen.out) if chosen.verb == "prepare" else run(chosen.work, chosen.peer)
