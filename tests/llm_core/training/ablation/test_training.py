"""A whole ablation with real trainings, on a change that is known to make worse models."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_core.formats.documents import DocumentWriter, document_id
from llm_core.params.tokenizer import Tokenizer
from llm_core.tokenization.stage import tokenize
from llm_core.tokenization.training.stage import train_tokenizer

VOCABULARY = [f"{first}{second}" for first in ("ba", "do", "fe", "gi", "lu", "mo", "ne", "ra") for second in "cdklmnrt"]
PROSE, SHUFFLED = 300, 150  # words of a document; the control's recipe drops documents as short as the shuffled ones
CHANGE = "cleaning.min_characters=1"
PARAMS = {
    "seed": 1,
    "sources": {name: {"kind": "files", "paths": ["unused"], "license": "public-domain"} for name in ("book", "web")},
    "cleaning": {"min_characters": 4 * (PROSE + SHUFFLED) // 2},
    "deduplication": {"near": False},
    "ablation": {
        "seeds": 2,
        "tokens": 49_152,
        "model": {"layers": 1, "width": 32, "heads": 1, "feed_forward": 64},
        "pretraining": {
            "batch_tokens": 256, "micro_batch": 4, "sequence_length": 64, "evaluate_every": 1000,
            "evaluate_tokens_final": 4000, "sample_every": 0, "precision": "fp32",
            "optimizer": {"learning_rate": 0.01, "warmup_steps": 5},
        },
    },
}  # fmt: skip


def prose(draw: random.Random) -> str:
    """Words of which each has two successors only, so that a model can learn to expect them."""
    place, words = draw.randrange(64), []
    for _ in range(PROSE):
        place = (5 * place + draw.choice((1, 18))) % 64
        words.append(VOCABULARY[place])
    return " ".join(words)


def shuffled(draw: random.Random) -> str:
    """The same words in no order."""
    return " ".join(draw.choices(VOCABULARY, k=SHUFFLED))


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    with DocumentWriter(folder / "documents") as writer:
        writer.write_rows(rows)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A finished default run: 60 documents of prose a source, 8 of them held out, and 200 of shuffled words dropped."""
    draw = random.Random(0)
    kept: dict[str, list[dict[str, Any]]] = {"train": [], "heldout": []}
    for source in ("book", "web"):
        rows = [{"id": document_id(source, str(n)), "source": source, "text": prose(draw)} for n in range(60)]
        noise = [
            {"id": document_id(source, f"noise {n}"), "source": source, "text": shuffled(draw)}
            for n in range(200 if source == "web" else 0)
        ]
        write(tmp_path / "data/raw" / source, rows + noise)
        kept["heldout"] += rows[:8]
        kept["train"] += rows[8:]
    for side, rows in kept.items():
        write(tmp_path / "data/split" / side, rows)
    (tmp_path / "data/benchmarks").mkdir()
    (tmp_path / "data/benchmarks/task.jsonl").write_text(json.dumps({"id": "1", "text": "not in the corpus " * 4}))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    train_tokenizer([tmp_path / "data/split/train"], tmp_path / "data/tokenizer", Tokenizer(vocab_size=400), 1)
    tokenize([tmp_path / "data/split"], tmp_path / "data/tokenizer", tmp_path / "data/tokens")
    return tmp_path


@pytest.mark.slow
@pytest.mark.long
def test_shuffled_words_make_really_worse_models_and_an_exchange_of_documents_does_not(project: Path) -> None:
    command = [sys.executable, "-m", "llm_core.cli", "ablate", "--change", CHANGE]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((project / "data/ablation/ablation.json").read_text())

    moved = {row["source"]: (row["removed"], row["added"], row["changed"]) for row in found["documents"]["treatment"]}
    assert moved == {"book": (0, 0, 0), "web": (0, 200, 0)}
    for source in ("book", "web"):
        shares = [found["mixture"][arm][source]["share"] for arm in ("control", "treatment", "negative")]
        assert shares == pytest.approx([0.5] * 3, abs=0.01)  # half a document is 0.3 % of a run's tokens

    overall = found["results"][0]
    scores = found["scores"]["heldout_bits_per_byte"]
    assert overall["metric"] == "heldout_bits_per_byte"
    assert overall["verdict"] == "worse"
    worse = [treated - plain for treated, plain in zip(scores["treatment"], scores["control"], strict=True)]
    exchanged = [other - plain for other, plain in zip(scores["negative"], scores["control"], strict=True)]
    assert min(worse) > 4 * max(map(abs, exchanged))
    low, high = overall["negative − control"].split("(")[1].rstrip(")").split(" to ")
    assert float(low) < 0 < float(high)
