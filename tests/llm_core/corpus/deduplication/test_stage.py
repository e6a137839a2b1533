"""Which documents are dropped and which survive, independent of files and order."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.corpus import takedowns
from llm_core.corpus.deduplication.audit import wilson
from llm_core.corpus.deduplication.stage import dedup
from llm_core.corpus.similarity.clusters import Near, Signer
from llm_core.corpus.similarity.word_hashes import WordHasher, ngrams
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, read_documents
from llm_core.formats.ledger import read_ledger
from llm_core.params.deduplication import Deduplication
from llm_core.params.launch import BatchLaunch

UNBOUND = {"max_dropped_share": 1.0, "max_false_positive_rate": 1.0}
WORDS = [f"word{number}" for number in range(400)]


def text(seed: int, length: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def near(base: str, changes: int, seed: int = 0) -> str:
    words = base.split()
    for place in random.Random(seed).sample(range(len(words)), changes):
        words[place] = "changed"
    return " ".join(words)


def write(folder: Path, rows: list[dict], shards: int = 1) -> list[str]:
    for shard in range(shards):
        with DocumentWriter(folder / f"{shard}/documents") as writer:
            writer.write_rows([{"source": "a", **row} for row in rows[shard::shards]])
    return [str(folder / f"{shard}") for shard in range(shards)]


def run(folder: Path, inputs: list[str], **changes) -> tuple[set[str], dict[str, dict], dict]:
    launch = BatchLaunch(**{name: changes.pop(name) for name in BatchLaunch.model_fields if name in changes})
    params = Deduplication(**{**UNBOUND, **changes})
    metrics = dedup(inputs, folder, params, 7, ["a", "b"], folder.parent / "takedowns.jsonl", launch=launch)
    kept = {name for batch in read_documents(folder) for name in batch.column("id").to_pylist()}
    rows = {row["id"]: row for batch in read_ledger(folder) for row in batch.to_pylist()}
    return kept, rows, metrics


def test_exact_near_and_different(tmp_path):
    base = text(1)
    rows = [
        {"id": "1", "text": base},
        {"id": "2", "text": base.upper().replace(" ", "\n")},  # the same words
        {"id": "3", "text": near(base, 1) + " and then some more of it"},  # longer, so it survives
        {"id": "4", "text": near(base, 30)},
        {"id": "5", "text": text(2)},
    ]
    kept, ledger, metrics = run(tmp_path / "out", write(tmp_path / "in", rows))
    assert kept == {"3", "4", "5"}
    assert {key: row["reason"] for key, row in ledger.items() if row["reason"]} == {
        "1": "near_duplicate",
        "2": "near_duplicate",
    }
    assert ledger["1"]["cluster_id"] == "1"
    assert ledger["1"]["survivor_id"] == ledger["3"]["survivor_id"] == "3"
    assert ledger["5"]["cluster_id"] is None
    assert metrics["audit"]["false_positives"] == 0
    assert metrics["documents_in"] == 5


def test_source_priority_goes_before_length_and_length_before_id(tmp_path):
    base = text(1)
    rows = [
        {"id": "1", "source": "b", "text": base + "   "},
        {"id": "2", "source": "a", "text": base},
        {"id": "3", "source": "a", "text": base},
    ]
    inputs = write(tmp_path / "in", rows)
    assert run(tmp_path / "out", inputs)[0] == {"2"}
    assert run(tmp_path / "out", inputs, priority=["b"])[0] == {"1"}


def test_empty_documents_are_dropped_by_name_and_never_cluster(tmp_path):
    rows = [{"id": str(number), "text": empty} for number, empty in enumerate(["", " \n", "…!", "a river"])]
    kept, ledger, metrics = run(tmp_path / "out", write(tmp_path / "in", rows))
    assert kept == {"3"}
    assert [row["reason"] for row in ledger.values()] == ["empty"] * 3 + [None]
    assert metrics["clusters"] == 0


def test_one_text_ten_thousand_times(tmp_path):
    rows = [{"id": f"{number:05d}", "text": text(1)} for number in range(10_000)]
    kept, _, metrics = run(tmp_path / "out", write(tmp_path / "in", rows))
    assert kept == {"00000"}
    assert metrics["dropped_by_reason"] == {"exact_duplicate": 9_999}


def test_a_common_beginning_does_not_make_a_duplicate(tmp_path):
    boilerplate = text(1, 300)
    rows = [{"id": str(number), "text": f"{boilerplate} {text(number + 10, 400)}"} for number in range(5)]
    assert len(run(tmp_path / "out", write(tmp_path / "in", rows))[0]) == 5


def test_a_tombstone_takes_a_document_out_and_its_twin_takes_its_place(tmp_path):
    rows = [{"id": "1", "text": text(1)}, {"id": "2", "text": text(1)}, {"id": "3", "text": text(3)}]
    inputs = write(tmp_path / "in", rows)
    before = run(tmp_path / "out", inputs)[0]
    takedowns.write_rows(tmp_path / "takedowns.jsonl", [{"id": "1", "reason": "asked"}])
    after, ledger, _ = run(tmp_path / "out", inputs)
    assert (before, after) == ({"1", "3"}, {"2", "3"})
    assert (ledger["1"]["reason"], ledger["1"]["detail"]) == ("takedown", "id")
    alone = run(tmp_path / "alone", write(tmp_path / "without", rows[1:]))[0]
    assert after == alone
    assert (tmp_path / "out/documents/00000.parquet").read_bytes() == (
        tmp_path / "alone/documents/00000.parquet"
    ).read_bytes()
    (tmp_path / "takedowns.jsonl").unlink()
    assert run(tmp_path / "out", inputs)[0] == before


def test_same_address_with_another_text(tmp_path):
    rows = [
        {"id": "1", "url": "https://a.org/x", "text": text(1)},
        {"id": "2", "url": "https://a.org/x#part", "text": text(2)},
    ]
    inputs = write(tmp_path / "in", rows)
    assert run(tmp_path / "out", inputs)[0] == {"1", "2"}
    assert run(tmp_path / "out", inputs, url=True)[2]["dropped_by_reason"] == {"url_duplicate": 1}


@settings(max_examples=15)
@given(
    order=st.permutations(range(24)),
    shards=st.integers(1, 5),
    workers=st.integers(1, 4),
    memory_mb=st.sampled_from([16, 17, 1024]),
)
def test_survivors_depend_on_neither_order_nor_shards(tmp_path_factory, order, shards, workers, memory_mb):
    rows = []
    for number in range(24):
        base = text(number % 8)
        rows.append({"id": f"{number:02d}", "source": "ab"[number % 2], "text": near(base, number % 4, seed=number)})
    folder = tmp_path_factory.mktemp("order")
    reference = run(folder / "reference", write(folder / "a", rows))
    inputs = write(folder / "b", [rows[place] for place in order], shards)
    shuffled = run(folder / "shuffled", inputs, workers=workers, memory_mb=memory_mb)
    assert shuffled[0] == reference[0]
    columns = ("verdict", "reason", "cluster_id", "survivor_id")
    assert all(shuffled[1][key][name] == row[name] for key, row in reference[1].items() for name in columns)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (0, 0, 0, 1)]
)
def test_wilson_interval_of_known_cases(hits, trials, low, high):
    assert wilson(hits, trials) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("changes", [{"workers": 1}, {"workers": 3}, {"memory_mb": 16}])
def test_workers_and_memory_change_nothing(tmp_path, changes):
    rows = [{"id": f"{n:03d}", "text": near(text(n % 60), n % 5, seed=n)} for n in range(240)]
    inputs = write(tmp_path / "in", rows, shards=3)
    reference = run(tmp_path / "a", inputs)
    assert 60 <= len(reference[0]) < 240
    assert run(tmp_path / "b", inputs, **changes)[:2] == reference[:2]


@settings(max_examples=8)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 39))
def test_going_on_from_signatures_decides_as_a_run_over_everything(tmp_path_factory, seed, cut):
    """The rule: earlier verdicts are kept; a new document is kept as by a run that prefers the earlier ones."""
    draw = random.Random(seed)
    rows = [{"id": f"{n:02d}", "text": near(text(draw.randrange(12)), draw.randrange(4), n)} for n in range(40)]
    draw.shuffle(rows)
    folder = tmp_path_factory.mktemp("known")
    earlier, later = [{**row, "source": "a"} for row in rows[:cut]], [{**row, "source": "b"} for row in rows[cut:]]
    old, new = write(folder / "old", earlier), write(folder / "new", later)
    first = run(folder / "first", old, keep_signatures=True)
    params = Deduplication(keep_signatures=True, **UNBOUND)
    known = folder / "first/signatures"
    metrics = dedup(new, folder / "second", params, 7, ["a", "b"], folder / "none", known)
    kept = {name for batch in read_documents(folder / "second") for name in batch.column("id").to_pylist()}
    everything = run(folder / "both", [*old, *new])
    assert kept == {name for name in everything[0] if name in {row["id"] for row in later}}
    assert metrics["documents_in"] == len(later)
    rows_now = {row["id"]: row for batch in read_ledger(folder / "second") for row in batch.to_pylist()}
    for name, row in rows_now.items():
        if row["verdict"] == "dropped":
            assert row["survivor_id"] in first[0] | kept
            assert row["reason"] == everything[1][name]["reason"] or row["survivor_id"] in first[0]
    third = dedup([*old, *new], folder / "third", params, 7, ["a", "b"], folder / "none", folder / "second/signatures")
    assert third["documents_kept"] == 0


def test_signatures_of_other_params_are_refused(tmp_path):
    inputs = write(tmp_path / "in", [{"id": "1", "text": text(1)}])
    run(tmp_path / "first", inputs, keep_signatures=True)
    with pytest.raises(UserError, match="rows 8 there, 4 here"):
        dedup(inputs, tmp_path / "out", Deduplication(rows=4), 7, [], tmp_path / "none", tmp_path / "first/signatures")


def test_a_crafted_collision_drops_nothing(tmp_path):
    """Two texts whose signatures are equal in every band: both hold the shingles that win each hash function."""
    near_params = Near(1, 4, 1, 0.8, 7)
    hasher, signer = WordHasher(7), Signer(near_params)
    pool = [f"bait{n}" for n in range(4000)]
    winners = [min(pool, key=lambda word, band=band: value(hasher, signer, word, band)) for band in range(4)]
    least = [value(hasher, signer, word, band) for band, word in enumerate(winners)]
    own = [f"own{n}" for n in range(200)]
    own = [word for word in own if all(value(hasher, signer, word, band) > least[band] for band in range(4))][:120]
    rows = [{"id": str(n), "text": " ".join([*winners, *own[60 * n : 60 * n + 60]])} for n in range(2)]
    words = [hasher(row["text"]) for row in rows]
    keys = signer(np.concatenate(words), np.array([len(one) for one in words])).keys
    assert (keys[0] == keys[1]).all()
    kept, _, _ = run(tmp_path / "out", write(tmp_path / "in", rows), shingle=1, bands=4, rows=1)
    assert kept == {"0", "1"}


def value(hasher: WordHasher, signer: Signer, word: str, band: int) -> int:
    """The hash function of a one-row band, written out."""
    multiplier, offset = (int(signer._functions[row, band]) for row in range(2))
    product = (int(ngrams(hasher(word), 1)[0]) * multiplier + offset) % 2**64
    return product ^ (product >> 32)


@pytest.mark.slow
def test_one_very_long_document_beside_short_ones(tmp_path):
    long = " ".join(random.Random(0).choices(WORDS, k=2_000_000))  # 15 MB
    rows = [{"id": "1", "text": long}, {"id": "2", "text": long + " end"}, {"id": "3", "text": text(1)}]
    assert run(tmp_path / "out", write(tmp_path / "in", rows), memory_mb=16)[0] == {"2", "3"}


def test_a_source_that_loses_too_much_stops_the_stage(tmp_path):
    rows = [{"id": f"b{n}", "source": "b", "text": text(n)} for n in range(2)]
    rows += [{"id": f"a{n}", "source": "a", "text": text(n % 2)} for n in range(10)]  # all in b, which is preferred
    inputs = write(tmp_path / "in", rows)
    bounds = {"priority": ["b"], "max_dropped_share": 0.6}
    with pytest.raises(UserError, match=r"a loses 100.0% .* most as exact_duplicate; max_dropped_share is 60.0%"):
        run(tmp_path / "out", inputs, **bounds)
    assert not (tmp_path / "out").exists()
    assert sum(batch.num_rows for batch in read_ledger(tmp_path / "out.refused")) == 12
    _, _, metrics = run(tmp_path / "out", inputs, **bounds, max_dropped_share_by_source={"a": 1.0})
    assert metrics["dropped_share"] == {"a": 1.0, "b": 0.0}
    assert not (tmp_path / "out.refused").exists()
    with pytest.raises(UserError, match=r"a loses 100.0% .* max_dropped_share_by_source is 99.0%"):
        run(tmp_path / "out", inputs, **bounds, max_dropped_share_by_source={"a": 0.99})
    assert (tmp_path / "out/metrics.json").exists(), "what an earlier run wrote stays"


def test_documents_taken_down_do_not_count_as_lost(tmp_path):
    rows = [{"id": str(n), "text": text(n)} for n in range(4)]
    takedowns.write_rows(tmp_path / "takedowns.jsonl", [{"id": str(n), "reason": "asked"} for n in range(3)])
    assert run(tmp_path / "out", write(tmp_path / "in", rows), max_dropped_share=0.1)[0] == {"3"}


def test_chains_of_pairs_are_false_positives_and_their_share_is_bounded(tmp_path):
    """a~b~c~d~e: each pair shares 9/11 = 0.82 of the words, the ends far less; kept is the longest, e."""
    rows = []
    for n in range(5):
        words = [f"w{number}" for number in range(10 * n, 10 * n + 100)]  # 90 of 110 words common with the next
        rows.append({"id": "abcde"[n], "text": " ".join(words) + "!" * n})
    inputs = write(tmp_path / "in", rows)
    chain = {"shingle": 1, "threshold": 0.8, "bands": 40, "rows": 2}
    kept, _, metrics = run(tmp_path / "out", inputs, **chain)
    assert kept == {"e"}
    assert (metrics["audit"]["audited"], metrics["audit"]["false_positives"]) == (4, 3)
    with pytest.raises(UserError, match=r"3 of 4 audited .* max_false_positive_rate is 70.0%"):
        run(tmp_path / "out", inputs, **chain, max_false_positive_rate=0.7)
    run(tmp_path / "out", inputs, **chain, max_false_positive_rate=0.75)
