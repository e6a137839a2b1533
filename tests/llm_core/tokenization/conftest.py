"""A small corpus with difficult text, and a tokenizer trained on it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_core.params.tokenizer import Tokenizer
from llm_core.tokenization.training.stage import train_tokenizer

TEXTS = {
    "prose": [
        "The quick brown fox jumps over the lazy dog; they've seen IT'S 1,234,567 times (at 12:30).\n\n  The end...  ",
        "In the beginning was the word, and the words were many.\r\nAnd the 2nd line\tfollowed -- 'twas so.",
    ]
    * 5,
    "code": ["def f(x):\n    if x >= 10:\n        return x ** 2  # squared\n\n\n    return [i for i in range(x)]\n"]
    * 5,
    "world": [
        "Größe, naïve café; Привет, мир! 你好,世界。 ١٢٣ ½ ⅷ \u00a0\u2003x\u3000y 👩‍👩‍👧 e\u0301 \x00\x1c\x85",
        "",
        " ",
        "\n",
    ],
}


def write(folder: Path, texts: dict[str, list[str]]) -> Path:
    folder.mkdir(parents=True)
    rows = [{"id": f"{s}-{i}", "source": s, "text": text} for s, part in texts.items() for i, text in enumerate(part)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("corpus") / "documents", TEXTS)


@pytest.fixture(scope="session")
def tokenizer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "tokenizer"
    train_tokenizer([corpus], out, Tokenizer(vocab_size=400), seed=1)
    return out
