"""BPE training and encoding to shards, against `tokenizers` alone (and rustbpe, tiktoken), CPU seconds in one run.

    python benchmarks/tokenization.py --in data/split/train [--copies 4] [--rounds 3]

Each contender runs in a process of its own, in turns, `rounds` times; the median counts. It first works on a
few documents, so that imports and compilation (ours: once on each machine, then cached) are not timed.
Peak memory is the growth of the process. At the end the ids of all contenders are compared over the whole corpus:
equal digests of all ids, document by document.
"""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.formats.documents import read_documents
from llm_core.formats.token_shards import TokenShards, TokenWriter, token_schema
from llm_core.params.launch import PieceLaunch
from llm_core.params.tokenizer import Tokenizer as TokenizerParams
from llm_core.tokenization import layout
from llm_core.tokenization.pattern import pattern
from llm_core.tokenization.specials import SPECIAL_TOKENS

PARAMS = TokenizerParams()


def texts(corpus: str) -> Iterator[list[str]]:
    for batch in read_documents(corpus, columns=["text"]):
        yield batch.column("text").to_pylist()


def train_tokenizers(corpus: str, folder: Path) -> str:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern(PARAMS)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=PARAMS.vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(corpus), trainer)
    return digest(json.loads(tokenizer.to_str())["model"]["merges"])


def train_ours(corpus: str, folder: Path) -> str:
    from llm_core.formats.documents import read_documents
    from llm_core.tokenization.training.stage import learn

    merges = learn(read_documents([corpus], ["text"]), PARAMS)
    alphabet = layout.byte_alphabet()
    return digest([["".join(alphabet[byte] for byte in half) for half in merge] for merge in merges])


def train_rustbpe(corpus: str, folder: Path) -> str:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    vocab_size = PARAMS.vocab_size - len(SPECIAL_TOKENS)
    tokenizer.train_from_iterator((t for part in texts(corpus) for t in part), vocab_size, pattern=pattern(PARAMS))
    return "not comparable: other ids"


def encode_tokenizers(corpus: str, folder: Path, fast: bool = False) -> str:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    encode = tokenizer.encode_batch_fast if fast else tokenizer.encode_batch
    return _write(corpus, folder, lambda part: [e.ids for e in encode(part, add_special_tokens=False)])


def encode_tiktoken(corpus: str, folder: Path) -> str:
    import tiktoken

    tokens = layout.Vocabulary(folder / "tokenizer").tokens
    core = tiktoken.Encoding("x", pat_str=pattern(PARAMS), mergeable_ranks=tokens, special_tokens={})
    return _write(corpus, folder, lambda part: [core.encode_to_numpy(text, disallowed_special=()) for text in part])


def encode_ours(corpus: str, folder: Path) -> str:
    from llm_core.tokenization.stage import tokenize

    tokenize([corpus], folder / "tokenizer", folder / "shards", PieceLaunch(workers=2))
    return str(folder / "shards")


def _write(corpus: str, folder: Path, encode: Callable[[list[str]], list[Any]]) -> str:
    """What a user of the other library would write: the same shards, from lists of ids."""
    schema = token_schema(PARAMS.vocab_size)
    with TokenWriter(folder / "shards", schema) as writer:
        for batch in read_documents(corpus, columns=["id", "source", "text"]):
            part = batch.column("text").to_pylist()
            rows = encode(part)
            starts = np.concatenate([[0], np.cumsum([len(row) + 2 for row in rows])]).astype(np.int32)
            values = np.concatenate([np.concatenate([[0], row, [1]]).astype(np.uint16) for row in rows])
            lists = pa.ListArray.from_arrays(starts, pa.array(values)).cast(schema.field("input_ids").type)
            sizes = pa.array([len(text.encode()) for text in part], pa.int64())
            writer.write(pa.RecordBatch.from_arrays([batch["id"], batch["source"], sizes, lists], schema=schema))
    return str(folder / "shards")


CONTENDERS: dict[str, Callable[[str, Path], str]] = {
    "train tokenizers": train_tokenizers,
    "train rustbpe": train_rustbpe,
    "train ours": train_ours,
    "encode tokenizers encode_batch": encode_tokenizers,
    "encode tokenizers encode_batch_fast": lambda corpus, folder: encode_tokenizers(corpus, folder, fast=True),
    "encode tiktoken": encode_tiktoken,
    "encode ours": encode_ours,
}


def status(field: str) -> int:
    """A line of /proc/self/status, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def digest_of_shards(folder: str) -> str:
    shards, total = TokenShards(folder), hashlib.sha256()
    for document in range(len(shards)):
        total.update(shards.ids(document).tobytes() + b"|")
    return total.hexdigest()[:16]


def measure(name: str, corpus: str, small: str, tokenizer: str) -> dict[str, Any]:
    """In this process: warm up, then run once; CPU and wall seconds, megabytes grown, digest of the ids."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "tokenizer").symlink_to(Path(tokenizer).resolve())
        (folder / "warm").mkdir()
        (folder / "warm" / "tokenizer").symlink_to(Path(tokenizer).resolve())
        CONTENDERS[name](small, folder / "warm")
        Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory counts from here
        resident = status("VmRSS")
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        made = CONTENDERS[name](corpus, folder)
        after = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "wall": time.monotonic() - start,
            "megabytes": (status("VmHWM") - resident) / 1024,
            "digest": digest_of_shards(made) if Path(made).is_dir() else made,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="corpus", default="data/split/train")
    parser.add_argument("--copies", type=int, default=1, help="the corpus this many times over, to see memory grow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only contenders with this in their name, ")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        documents = pa.Table.from_batches(read_documents(arguments.corpus, columns=["id", "source", "text"]))
        size = pa.compute.sum(pa.compute.binary_length(documents["text"])).as_py() * arguments.copies
        corpus, small = f"{scratch}/corpus.parquet", f"{scratch}/small.parquet"
        with pq.ParquetWriter(corpus, documents.schema) as writer:
            for _ in range(arguments.copies):
                writer.write_table(documents, row_group_size=1024)
        pq.write_table(documents.slice(0, 8), small)
        from llm_core.tokenization.training.stage import train_tokenizer

        train_tokenizer([corpus], f"{scratch}/tokenizer", PARAMS, seed=0)
        chosen = [name for name in CONTENDERS if arguments.only in name]
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
        for _ in range(arguments.rounds):
            for name in chosen:
                command = [sys.executable, __file__, "--one", name, corpus, small, f"{scratch}/tokenizer"]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                runs[name].append(json.loads(output.splitlines()[-1]))
    print(f"{documents.num_rows * arguments.copies} documents, {size / 1e6:.1f} MB, {arguments.rounds} rounds\n")
    print("| contender | CPU s | MB a CPU s | times `tokenizers` | wall s | MB grown | digest |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, results in runs.items():
        cpu, wall, grown = (statistics.median(r[key] for r in results) for key in ("cpu", "wall", "megabytes"))
        base = "train tokenizers" if name.startswith("train") else "encode tokenizers encode_batch"
        times = statistics.median(r["cpu"] for r in runs[base]) / cpu if base in runs else float("nan")
        digests = "/".join(sorted({r["digest"] for r in results}))
        print(f"| {name} | {cpu:.2f} | {size / 1e6 / cpu:.1f} | {times:.2f} | {wall:.2f} | {grown:.0f} | {digests} |")


if __name__ == "__main__":
    main()
