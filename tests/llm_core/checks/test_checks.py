"""Each check on a handful of documents: it passes on good ones, and its failure names the remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm_core.checks import Verdict
from llm_core.checks.duplicates import dropped_shares, duplicate_bounds
from llm_core.checks.text import contamination, drift, false_duplicates, licence_present, profile, retention, similarity
from llm_core.checks.training import loss, round_trip
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.ledger import LedgerWriter
from llm_core.formats.names import FINAL
from llm_core.params.checks import Checks
from llm_core.params.deduplication import Deduplication
from llm_core.runtime.digests import content_digest
from tests.llm_core.training.pretraining import tiny


def write(folder: Path, texts: dict[str, str], **more: Any) -> Path:
    with DocumentWriter(folder / "documents") as writer:
        rows = [{"id": id, "source": "web", "text": text, "license": "CC0-1.0"} | more for id, text in texts.items()]
        writer.write_rows(rows)
    return folder


def judge(folder: Path, rows: list[dict[str, Any]]) -> Path:
    with LedgerWriter(folder / "ledger", "clean") as ledger:
        ledger.record([{"source": "web", "bytes": 100} | row for row in rows])
    return folder


def fails(verdict: Verdict, *words: str) -> bool:
    return not verdict.passed and all(word in verdict.message for word in words)


def test_licence(tmp_path: Path) -> None:
    assert licence_present(write(tmp_path / "good", {"a": "x"}), Checks()).passed
    bad = write(tmp_path / "bad", {"a": "x", "b": "y"}, license=" ")
    assert fails(licence_present(bad, Checks()), "2 of 2", "web (2)", "params.yaml")
    assert fails(licence_present(write(tmp_path / "none", {"a": "x"}, license=None), Checks()), "1 of 1")


def test_retention_counts_bytes(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "verdict": "kept", "bytes": 10},
        {"id": "b", "verdict": "changed", "bytes": 20},
        {"id": "c", "verdict": "dropped", "reason": "gopher_word_count", "bytes": 70},
    ]
    folder = judge(tmp_path, rows)
    assert retention(folder, Checks(retention_min=0.3)).passed
    strict = retention(folder, Checks(retention_min=0.31))
    assert fails(strict, "web keeps 30.0%", "word count", "retention_min_by_source")
    assert retention(folder, Checks(retention_min=0.9, retention_min_by_source={"web": 0.1})).passed
    other = Checks(retention_min=0.1, retention_min_by_source={"books": 0.1, "wbe": 0.1})
    assert fails(retention(folder, other, ["web", "books"]), "retention_min_by_source: no such name: wbe", "books, web")


def test_drift_against_the_last_accepted(tmp_path: Path) -> None:
    old = profile(write(tmp_path / "old", {str(i): "x" * 100 for i in range(10)}, language="en"))
    assert old == {"documents": 10, "median length": 100, "languages": {"en": 1.0}}
    assert drift(tmp_path / "old", Checks(), None).passed
    longer = write(tmp_path / "longer", {str(i): "x" * 140 for i in range(10)}, language="en")
    assert fails(drift(longer, Checks(), old, "abc.dir"), "100 to 140", "40%", "abc.dir", "checks.accepted")
    assert drift(longer, Checks(accepted=["abc.dir"]), old, "abc.dir").passed
    assert drift(longer, Checks(length_drift_max=0.5), old).passed
    other = write(tmp_path / "other", {str(i): "x" * 100 for i in range(10)}, language="de")
    assert fails(drift(other, Checks(), old), "moved by")


def test_contamination_per_source(tmp_path: Path) -> None:
    folder = judge(tmp_path, [{"id": str(i), "verdict": "dropped" if i < 2 else "kept"} for i in range(10)])
    assert contamination(folder, Checks(contamination_max=0.2)).passed
    assert fails(contamination(folder, Checks(contamination_max=0.19)), "20.0% of web")


def test_false_duplicates_reads_the_texts(tmp_path: Path) -> None:
    words = " ".join(f"w{i}" for i in range(30))
    read = write(tmp_path / "clean", {"a": words, "b": words + " end", "c": "nothing of the kind in here at all"})
    rows = [
        {"id": "a", "verdict": "kept"},
        {"id": "b", "verdict": "dropped", "reason": "near_duplicate", "survivor_id": "a"},
        {"id": "c", "verdict": "dropped", "reason": "near_duplicate", "survivor_id": "a"},
    ]
    folder = judge(tmp_path / "dedup", rows)
    assert similarity(words, words + " end") == pytest.approx(26 / 27)
    assert fails(false_duplicates(folder, [read], Checks()), "1 of 2", "first: c", "threshold")
    assert false_duplicates(folder, [read], Checks(false_positives_max=0.5)).passed


def test_duplicate_bounds_by_source() -> None:
    def row(dropped: int, **reasons: int) -> dict[str, Any]:
        return {"documents_in": 10, "documents_dropped": dropped, "dropped_by_reason": reasons}

    metrics = {"by_source": {"web": row(7, near_duplicate=5, takedown=2), "book": row(1, exact_duplicate=1)}}
    assert dropped_shares(metrics) == {"web": 0.5, "book": 0.1}
    assert duplicate_bounds(metrics, Deduplication(max_dropped_share=0.5)).passed
    strict = duplicate_bounds(metrics, Deduplication(max_dropped_share=0.05, max_dropped_share_by_source={"web": 0.5}))
    assert fails(strict, "book loses 10.0%", "exact_duplicate", "max_dropped_share_by_source")
    assert "web" not in strict.message and "threshold" not in strict.message  # which changes nothing for exact copies
    audit = {"false_positive_rate": 0.06, "false_positives": 6, "audited": 100}
    assert fails(duplicate_bounds(metrics | {"audit": audit}, Deduplication()), "6 of 100", "5.0%", "threshold")
    assert duplicate_bounds(metrics | {"audit": audit}, Deduplication(max_false_positive_rate=0.06)).passed


def test_a_loss_is_counted_once_beside_its_parts_by_source(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": step, "loss": 2.0, "loss/x": 1.0, "loss/y": 3.0} for step in (1, 2)]
    rows.append({"step": 2, "heldout_bits_per_byte": 3.0, "heldout_bits_per_byte/x": 3.0})
    rows.append({"step": 2, "spike": "gradient_norm", "value": 9.0})
    (tmp_path / "training_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "training_data.json").write_text('{"tokens_digest": "abc"}')
    assert loss(tmp_path, Checks(), None).figures["logged"] == 3


@pytest.mark.parametrize("prefix", [FINAL, "final/"])  # the latter of logs written before 2026-12-01
def test_the_loss_is_the_final_one_under_its_names(tmp_path: Path, prefix: str) -> None:
    rows = [{"step": 1, "heldout_bits_per_byte": 3.0}, {"step": 2, f"{prefix}heldout_bits_per_byte": 2.0}]
    (tmp_path / "training_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "training_data.json").write_text('{"tokens_digest": "abc"}')
    assert loss(tmp_path, Checks(), None).figures["final loss"] == 2.0


def test_mlflow_shows_curves_before_final_points() -> None:
    """It orders sections of charts by what is before a name's last slash."""
    curves = ("heldout_bits_per_byte", "loss", "phase/short")
    assert min(FINAL.rstrip("/"), f"{FINAL}heldout_bits_per_byte") > max(curves)


def test_loss_reads_the_log_of_a_real_run(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    done = tiny.run(folder, pretraining__steps=4, pretraining__evaluate_every=2)
    assert done.returncode == 0, done.stderr
    first = loss(folder / "out", Checks(), None)
    final = json.loads((folder / "out" / "metrics.json").read_text())["heldout_bits_per_byte"]
    assert first.passed and first.figures["best loss"] == pytest.approx(final, abs=1e-6)
    tokens = {"tokens digest": content_digest(folder / "tokens" / "train")}
    near = loss(folder / "out", Checks(), tokens | {"best loss": final - 0.09})
    assert near.passed and near.figures["best loss"] == final - 0.09, "the margin does not creep"
    low = {"best loss": final - 0.2}
    assert fails(loss(folder / "out", Checks(), tokens | low), f"{final:.4f}", "loss_margin")
    for other, named in (({"tokens digest": "abc"}, "digest abc, now"), ({}, "digest not recorded, now")):
        anew = loss(folder / "out", Checks(), other | low)
        assert anew.passed and "a new comparison begins" in anew.message and named in anew.message
        assert anew.figures == first.figures and anew.figures["tokens digest"] == tokens["tokens digest"]
    log = folder / "out" / "training_log.jsonl"
    rows = log.read_text()
    log.write_text(rows + json.dumps({"step": 4, "heldout_bits_per_byte": 99.0}) + "\n")
    assert fails(loss(folder / "out", Checks(), first.figures), "99.0000")
    log.write_text(rows + '{"step": 4, "heldout_bits_per_byte": NaN}\n')
    assert fails(loss(folder / "out", Checks(), None), "heldout_bits_per_byte at step 4", "learning rate")


def test_round_trip(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    texts = write(tmp_path / "split", {"a": "Grün, ÄÖ and\ttabs\n", "b": "two  spaces"})
    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    byte_level.train_from_iterator(["a b"], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    byte_level.save(str(tmp_path / "tokenizer.json"))
    assert round_trip(tmp_path, texts, Checks()).passed
    byte_level.normalizer = normalizers.Lowercase()
    byte_level.save(str(tmp_path / "tokenizer.json"))
    assert fails(round_trip(tmp_path, texts, Checks()), "1 of 2", "byte-level")
