"""The trained quality model: it learns, its bytes are fixed, its threshold works, and a bad folder gives a one-line
error."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_core.corpus.cleaning.quality_model import Classifier, features, passages
from llm_core.corpus.cleaning.quality_training import train_quality
from llm_core.corpus.cleaning.stage import clean
from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.formats.ledger import read_ledger
from llm_core.params.cleaning import Cleaning, QualityModel

SUBJECTS = ("The council", "A farmer", "The old captain", "My neighbour", "The teacher", "Every sailor")
VERBS = ("settled", "described", "remembered", "refused", "welcomed", "repaired")
OBJECTS = ("the budget", "a long voyage", "the broken wheel", "an early winter", "the new school", "a quiet harbour")
PLACES = ("near the river", "before midnight", "in the village", "after the storm", "without a word", "that summer")
MENU = ("Home", "Login", "Share", "|", "Cookies", "Next", "»", "Privacy", "Sign up", "Subscribe", "©", "Tweet", "Reply")
PARAMS = QualityModel(feature_bits=12, passage_characters=200, epochs=5)


def prose(seed: int) -> str:
    draw = random.Random(seed).choice
    return " ".join(f"{draw(SUBJECTS)} {draw(VERBS)} {draw(OBJECTS)} {draw(PLACES)}." for _ in range(12))


def menu(seed: int) -> str:
    return " ".join(random.Random(seed).choices(MENU, k=60))


def shuffled(seed: int) -> str:
    words = prose(seed).split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


def write(file: Path, texts: list[str]) -> Path:
    rows = ({"id": f"{file.stem}-{number}", "source": "s", "text": text} for number, text in enumerate(texts))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def train(folder: Path, bad: Any = menu, count: int = 60) -> tuple[Path, dict[str, Any]]:
    good = write(folder / "good.jsonl", [prose(seed) for seed in range(count)])
    other = write(folder / "random.jsonl", [bad(1000 + seed) for seed in range(count)])
    return folder / "model", train_quality([good], [other], folder / "model", PARAMS, seed=7)


@pytest.mark.parametrize("bad", [menu, shuffled])  # shuffled words differ in their pairs alone
def test_it_tells_unseen_prose_from_boilerplate_and_from_shuffled_words(tmp_path: Path, bad: Any) -> None:
    folder, metrics = train(tmp_path, bad)
    assert metrics["auc"] > 0.99
    assert metrics["accuracy"] > 0.95
    assert metrics["good"] == metrics["random"] == {"trained": 48, "held_out": 12}
    scores = Classifier.load(folder).score([prose(5000), bad(6000)])
    assert scores[0] > 0.5 > scores[1]


def test_without_a_difference_nothing_is_learnt(tmp_path: Path) -> None:
    assert 0.2 < train(tmp_path, prose)[1]["auc"] < 0.8


def test_same_documents_same_bytes_in_any_order(tmp_path: Path) -> None:
    folder, _ = train(tmp_path)
    texts = [prose(seed) for seed in reversed(range(60))]
    halves = [
        write(tmp_path / "b.jsonl", texts[:20]),
        write(tmp_path / "a.jsonl", texts[20:] + texts[:5]),
    ]  # with copies
    train_quality(halves, [tmp_path / "random.jsonl"], tmp_path / "again", PARAMS, seed=7)
    for name in ("model.safetensors", "config.json", "metrics.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    train_quality(halves, [tmp_path / "random.jsonl"], tmp_path / "other", PARAMS, seed=8)
    assert (folder / "model.safetensors").read_bytes() != (tmp_path / "other/model.safetensors").read_bytes()


def test_more_documents_than_allowed_are_chosen_by_hash(tmp_path: Path) -> None:
    train(tmp_path)
    params = PARAMS.model_copy(update={"max_documents": 10})
    metrics = train_quality([tmp_path / "good.jsonl"], [tmp_path / "random.jsonl"], tmp_path / "few", params, seed=7)
    assert metrics["good"] == metrics["random"] == {"trained": 8, "held_out": 2}


def test_threshold_drops_with_reason_and_score(tmp_path: Path) -> None:
    folder, _ = train(tmp_path)
    mixed = write(tmp_path / "mixed.jsonl", [prose(7000), menu(7001), prose(7002)])
    for threshold, kept in ((None, [0, 1, 2]), (0.0, [0, 1, 2]), (0.5, [0, 2])):
        model = {"path": str(folder), "threshold": threshold}
        clean([mixed], tmp_path / "out", Cleaning(steps=["model"], quality_model=model))
        rows = [row for batch in read_documents(tmp_path / "out") for row in batch.to_pylist()]
        assert [row["id"] for row in rows] == [f"mixed-{number}" for number in kept]
        assert all(0 < json.loads(row["metadata"])["quality_score"] < 1 for row in rows)
    clean([mixed], tmp_path / "out", Cleaning(steps=["model"], quality_model={"path": str(folder), "threshold": 0.5}))
    (dropped,) = [
        row for batch in read_ledger(tmp_path / "out") for row in batch.to_pylist() if row["verdict"] == "dropped"
    ]
    assert (dropped["id"], dropped["reason"]) == ("mixed-1", "quality_model")
    assert dropped["score"] == pytest.approx(Classifier.load(folder).score([menu(7001)])[0])
    nothing = Cleaning(steps=["model"], quality_model={"path": str(folder), "threshold": 1.0})
    with pytest.raises(UserError, match=r"clean: none of 3 documents is left \(quality_model 3\)"):
        clean([mixed], tmp_path / "out", nothing)
    exempt = Cleaning(steps=["model"], quality_model={"path": str(folder), "threshold": 1.0}, exempt=["s"])
    assert clean([mixed], tmp_path / "out", exempt)["documents_kept"] == 3


def test_features_and_score_by_hand() -> None:
    row = features(["One two, ONE two"], 1 << 16)  # once: "," "two ," ", one"; twice: one, two, "one two"
    assert sorted((row.data / row.data.min()).round(6).tolist()) == [1.0] * 3 + [2.0] * 3
    assert np.linalg.norm(row.data) == pytest.approx(1)
    assert passages("aaa bbb ccc ddd", 4, 2) == ["aaa bbb", " ccc"]
    assert passages("a" * 9, 2, 9) == ["aaaa", "aaaa", "a"]
    assert passages("", 4, 2) == [""]
    zero = Classifier(np.zeros(256), np.log(3.0), 4, 2)
    assert zero.score(["", "x", "aaa bbb ccc"]) == pytest.approx([0.75] * 3)
    assert zero.score([]).shape == (0,)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json: no such file"),
        (lambda folder: (folder / "config.json").write_text('{"kind": "x"}'), "no quality model"),
        (lambda folder: (folder / "config.json").write_text('{"kind": "hashed-ngrams-2"}'), "positive integers"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights can be read"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04K\x01."), "no weights can be read"),
        (
            lambda folder: (folder / "config.json").write_text(
                (folder / "config.json").read_text().replace("4096", "8192")
            ),
            "not those of config.json",
        ),
    ],
)
def test_a_bad_folder_is_one_line(tmp_path: Path, damage: Any, told: str) -> None:
    folder, _ = train(tmp_path, count=10)
    damage(folder)
    with pytest.raises(UserError, match=told) as raised:
        clean(
            [tmp_path / "good.jsonl"], tmp_path / "out", Cleaning(steps=["model"], quality_model={"path": str(folder)})
        )
    assert "\n" not in str(raised.value)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", ["one text", "one text", " "])
    with pytest.raises(UserError, match=r"--good .*few.jsonl: 1 distinct documents"):
        train_quality([few], [few], tmp_path / "model", PARAMS, seed=7)
    with pytest.raises(UserError, match="needs the folder"):
        clean([few], tmp_path / "out", Cleaning(steps=["model"]))
