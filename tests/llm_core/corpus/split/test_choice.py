"""The compiled choice takes the bundles that its definition, written out in plain Python, takes."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from llm_core.corpus.split.choice import choose
from llm_core.corpus.split.facts import Facts
from llm_core.params.split import Split
from llm_core.runtime.digests import short_hash


def defined(rows, bundles, params, seed):
    """Ids of the documents held out, by the definition."""
    members, total = {}, Counter()
    for number, bundle in enumerate(bundles):
        members.setdefault(bundle, []).append(number)
        total[rows[number]["source"]] += len(rows[number]["text"].encode())
    wanted = {
        source: min(size * params.heldout_share, params.heldout_megabytes * 1e6) for source, size in total.items()
    }
    taken, heldout = Counter(), set()
    for bundle in sorted(members.values(), key=lambda one: short_hash(str(seed), min(rows[n]["id"] for n in one))):
        gain = Counter()
        for number in bundle:
            gain[rows[number]["source"]] += len(rows[number]["text"].encode())
        fits = all(
            taken[source] + size <= 1.5 * wanted[source] or (taken[source] == 0 and size <= total[source] / 2)
            for source, size in gain.items()
        )
        if fits and any(taken[source] < wanted[source] for source in gain):
            taken.update(gain)
            heldout.update(rows[number]["id"] for number in bundle)
    return heldout


@pytest.mark.parametrize("at_once", [3, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_that_of_its_definition(tmp_path, seed, at_once):
    draw = random.Random(seed)
    rows = [
        {
            "id": f"{draw.choice('aéß漢🙂')}{number}",
            "source": draw.choice(["one", "two", "large"]),
            "text": "é" * draw.randint(1, 200),
            "metadata": None,
        }
        for number in range(200)
    ]
    rows.append({"id": "huge", "source": "alone", "text": "x" * 5000, "metadata": None})
    params = Split(heldout_share=draw.choice([0.02, 0.1, 0.4]), heldout_megabytes=draw.choice([0.001, 1.0]))
    numbered: dict[int, int] = {}
    drawn = [draw.randint(0, 60) for _ in rows]
    bundles = np.array([numbered.setdefault(one, len(numbered)) for one in drawn])  # numbered by their first documents
    facts = Facts(tmp_path, {})
    schema = pa.schema(
        [("id", pa.string()), ("source", pa.string()), ("text", pa.large_string()), ("metadata", "string")]
    )
    for some in (rows[:90], rows[90:]):
        sizes = np.array([len(row["text"].encode()) for row in some])
        facts.add(pa.RecordBatch.from_pylist(some, schema=schema), sizes)
    heldout = choose(facts, bundles, params, seed, tmp_path, at_once)
    assert {row["id"] for row, out in zip(rows, heldout, strict=True) if out} == defined(rows, bundles, params, seed)
