"""The content of the mix, against sums done by hand."""

from collections import Counter

import pytest

from llm_core.corpus.mix import stage
from llm_core.corpus.mix.stage import mix, share_out
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, read_documents
from llm_core.formats.ledger import read_ledger
from llm_core.params.launch import BatchLaunch
from llm_core.params.mix import Mix
from llm_core.runtime.digests import content_digest


def write(folder, documents):
    rows = [{"id": f"{source}{n}", "source": source, "text": "x" * 10} for source, n in documents]
    for side, chosen in (("train", rows), ("heldout", rows[:0])):
        with DocumentWriter(folder / side / "documents") as writer:
            writer.write_rows(chosen)
    return folder


@pytest.fixture
def split(tmp_path):
    """400 bytes of a in 40 documents, 100 bytes of b in 10."""
    return write(tmp_path / "split", [("a", n) for n in range(40)] + [("b", n) for n in range(10)])


def counts(folder):
    return Counter(name for batch in read_documents(folder / "train") for name in batch.column("id").to_pylist())


@pytest.mark.parametrize(
    ("changes", "targets"),
    [
        ({}, {"a": 400, "b": 100}),
        ({"weights": {"a": 1, "b": 1}}, {"a": 250, "b": 250}),
        ({"weights": {"a": 1, "b": 9}}, {"a": 100, "b": 400}),  # 450 of b asked, 4 passes allowed; a takes the rest
        ({"weights": {"a": 3, "b": 1}, "total": 200}, {"a": 150, "b": 50}),
        ({"weights": {"b": 1}}, {"a": 0, "b": 400}),
        ({"temperature": 2}, {"a": 500 * 20 / 30, "b": 500 * 10 / 30}),  # square roots: 20 to 10
        ({"max_epochs": 0.5}, {"a": 200, "b": 50}),
    ],
)
def test_sizes_asked_for(changes, targets):
    assert share_out({"a": 400, "b": 100}, Mix(**changes)) == pytest.approx(targets)


def test_a_total_that_is_not_reached_is_said(split, tmp_path, capfd):
    assert mix(split, tmp_path / "out", Mix(total=5000), 7)["mix"]["total"] == 2000
    assert "mix: 2,000 of the 5,000 bytes of mix.total, all there is within 4 passes" in capfd.readouterr().err
    mix(split, tmp_path / "other", Mix(total=500), 7)
    assert "mix.total" not in capfd.readouterr().err


def test_the_mix_is_exact_to_the_document(split, tmp_path):
    metrics = mix(split, tmp_path / "out", Mix(weights={"a": 1, "b": 1}), 7)
    found = counts(tmp_path / "out")
    assert sum(count for name, count in found.items() if name[0] == "a") == 25
    assert sum(count for name, count in found.items() if name[0] == "b") == 25
    assert sorted(Counter(found[f"b{n}"] for n in range(10)).items()) == [(2, 5), (3, 5)]
    row = metrics["mix"]["by_source"]["b"]
    assert (row["epochs"], row["share"], row["in_mix"]) == (2.5, 0.5, 250)
    assert metrics["documents_dropped"] == metrics["dropped_by_reason"]["left_out_of_mix"] == 15
    scores = {row["id"]: row["score"] for batch in read_ledger(tmp_path / "out") for row in batch.to_pylist()}
    assert all(scores[name] == count for name, count in found.items())


def test_the_seed_decides_and_nothing_else(split, tmp_path):
    changes = Mix(weights={"a": 1}, total=100)
    first = mix(split, tmp_path / "1", changes, 1) and counts(tmp_path / "1")
    other = write(tmp_path / "turned", [("b", n) for n in range(10)] + [("a", n) for n in reversed(range(40))])
    assert (mix(other, tmp_path / "2", changes, 1) and counts(tmp_path / "2")) == first
    assert (mix(split, tmp_path / "3", changes, 2) and counts(tmp_path / "3")) != first


def test_little_memory_gives_the_same_mix(split, tmp_path, monkeypatch):
    """Documents are put in order a few at a time."""
    first = mix(split, tmp_path / "1", Mix(temperature=2), 1)
    monkeypatch.setattr(stage, "BUNDLE_BYTES", 16 << 15)  # 4 of the 50 documents at once in 16 MiB
    assert mix(split, tmp_path / "2", Mix(temperature=2), 1, launch=BatchLaunch(memory_mb=16)) == first
    assert content_digest(tmp_path / "2") == content_digest(tmp_path / "1")


def test_a_weight_for_nothing_is_an_error(split, tmp_path):
    with pytest.raises(UserError, match=r"mix\.weights: no such name: c"):
        mix(split, tmp_path / "out", Mix(weights={"c": 1}), 1)
    assert not (tmp_path / "out").exists()
