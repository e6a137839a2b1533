"""Planted items are found, edited ones by their share, boilerplate never."""

import json
import random

import pyarrow as pa
import pytest

from benchmarks.decontamination import BOILERPLATE as BOILERPLATE_OF_ITEMS
from benchmarks.decontamination import judge, plant
from llm_core.corpus.decontamination.items import overlaps, read_items
from llm_core.corpus.decontamination.stage import decontaminate
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, read_documents
from llm_core.formats.ledger import read_ledger
from llm_core.params.decontamination import Decontamination
from llm_core.params.launch import BatchLaunch
from llm_core.runtime.digests import content_digest

ITEM = " ".join(f"w{number}" for number in range(30))  # 18 13-grams
BOILERPLATE = " ".join(f"read{number}" for number in range(14))
FILLER = " ".join(f"filler{number}" for number in range(200))


@pytest.fixture
def benchmarks(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    items = [{"id": "planted", "question": ITEM, "answer": "w3"}, {"id": "tiny", "question": "too short to match"}]
    items += [
        {"id": f"b{n}", "question": f"{BOILERPLATE} " + " ".join(f"q{n}x{k}" for k in range(20))} for n in range(20)
    ]
    items.append({"id": "short", "choices": ["one two three four five six", "seven eight nine ten"]})
    (folder / "quiz.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


def run(tmp_path, benchmarks, texts, **changes):
    with DocumentWriter(tmp_path / "in/documents") as writer:
        writer.write_rows([{"id": str(n), "source": "s", "text": text} for n, text in enumerate(texts)])
    params = Decontamination(**changes)
    metrics = decontaminate([str(tmp_path / "in")], [str(benchmarks)], tmp_path / "out", params)
    kept = {name for batch in read_documents(tmp_path / "out") for name in batch.column("id").to_pylist()}
    rows = {row["id"]: row for batch in read_ledger(tmp_path / "out") for row in batch.to_pylist()}
    return kept, rows, metrics


def test_planted_edited_and_boilerplate(tmp_path, benchmarks):
    half = " ".join(ITEM.split()[:21])  # 9 of its 18 13-grams
    less = " ".join(ITEM.split()[:20])  # 8 of 18
    texts = [
        f"{FILLER} {ITEM.upper()} {FILLER}",
        f"{FILLER} {half} {FILLER}",
        f"{FILLER} {less} {FILLER}",
        f"{BOILERPLATE} {FILLER}",
        FILLER,
        f"{FILLER} one two three four five six, seven eight nine ten! {FILLER}",
    ]
    kept, rows, metrics = run(tmp_path, benchmarks, texts, threshold=0.5)
    assert kept == {"2", "3", "4"}
    assert (rows["0"]["reason"], rows["0"]["detail"], rows["0"]["score"]) == ("contaminated", "quiz/planted", 1.0)
    assert rows["1"]["score"] == 0.5
    assert rows["5"]["detail"] == "quiz/short"
    assert metrics["items"]["quiz"] == {"items": 22, "touched": 2, "held": 2}
    touched = [json.loads(line) for line in (tmp_path / "out/touched_items.jsonl").read_text().splitlines()]
    assert touched[0] == {"benchmark": "quiz", "id": "planted", "share": 1.0, "documents": ["0", "1", "2"]}


@pytest.mark.parametrize(("threshold", "dropped"), [(0.4, 3), (0.5, 2), (0.6, 1), (1.0, 1)])
def test_the_threshold_acts(tmp_path, benchmarks, threshold, dropped):
    words = ITEM.split()
    texts = [FILLER, *(f"{FILLER} {' '.join(words[:length])}" for length in (20, 21, 30))]
    assert run(tmp_path, benchmarks, texts, threshold=threshold)[2]["documents_dropped"] == dropped


def test_the_default_threshold_finds_every_exact_copy_and_no_quotation(labelled, tmp_path):
    folder, rows = labelled
    dropped = judge(tmp_path, folder / "bench", rows, Decontamination().threshold)["dropped"]
    assert (dropped["exact"], dropped["quoted"]) == (1.0, 0.0)


def test_no_items_is_an_error(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"q": "two words"}\n')
    with pytest.raises(UserError, match="no benchmark items"):
        run(tmp_path, tmp_path / "b.jsonl", ["text"])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """60 items of 24 to 60 words, every second one behind an instruction; 420 documents, seven ways of planting."""
    draw = random.Random(4)
    words = [f"w{number}" for number in range(2000)]
    texts = [" ".join(draw.choices(words, k=150)) for _ in range(50)]
    items = {f"i{number:02d}": " ".join(draw.choices(words, k=draw.randint(24, 60))) for number in range(60)}
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "bench").mkdir()
    lines = [
        json.dumps({"id": item, "question": f"{BOILERPLATE_OF_ITEMS} {text}" if number % 2 else text})
        for number, (item, text) in enumerate(items.items())
    ]
    (folder / "bench/quiz.jsonl").write_text("\n".join(lines))
    return folder, plant(items, texts)


@pytest.mark.parametrize(
    ("threshold", "precision", "recall", "exact", "edited"),
    [
        (0.05, 0.866, 0.967, 1.0, 1.0),
        (0.2, 1.0, 0.844, 1.0, 1.0),
        (0.3, 1.0, 0.722, 1.0, 0.9),
        (0.5, 1.0, 0.589, 1.0, 0.7),
        (1.0, 1.0, 0.167, 0.5, 0),
    ],
)
def test_precision_and_recall_on_the_labelled_set(labelled, tmp_path, threshold, precision, recall, exact, edited):
    """A lower threshold finds more edited copies, until quotations count too; what is no overlap never does."""
    folder, rows = labelled
    found = judge(tmp_path, folder / "bench", rows, threshold)
    dropped = found["dropped"]
    assert dropped["boilerplate"] == dropped["shuffled"] == dropped["unrelated"] == 0
    assert (found["precision"], found["recall"]) == pytest.approx((precision, recall), abs=0.001)
    # Half of the items have an instruction before them, which was not planted: they are never held in full.
    assert (dropped["exact"], dropped["edited"]) == (exact, edited)
    assert len(found["touched"]) == 60, "every planted item is listed, dropped or not"


def test_the_compiled_search_finds_what_the_definition_finds(tmp_path):
    """Shares of overlap against sets of 13-grams in plain Python; words of several scripts, short and empty texts."""
    draw = random.Random(3)
    words = ["ünder", "Δέλτα", "вода", "plain", *(f"w{number}" for number in range(40))]
    texts = [" ".join(draw.choices(words, k=draw.choice([0, 5, 9, 12, 13, 14, 60]))) for _ in range(120)]
    lines = [" ".join(text.split()[:length]) for text in texts[:60] for length in (8, 10, 13, 40)]
    (tmp_path / "items.txt").write_text("\n".join(lines))
    items = read_items([str(tmp_path / "items.txt")], Decontamination(common=1000))

    def grams(text, length):
        found = text.casefold().split()
        return {tuple(found[start : start + length]) for start in range(len(found) - length + 1)}

    wanted = {}
    for row, text in enumerate(texts):
        for number, (_, line) in enumerate(items.names):
            item = lines[int(line) - 1]
            length = min(13, len(item.split()))
            own = grams(item, length)
            if hits := own & grams(text, length):
                wanted[row, number] = len(hits) / len(own)
    found = overlaps(pa.array(texts, pa.large_string()), items)
    assert list(zip(found.text.tolist(), found.item.tolist(), strict=True)) == sorted(wanted)
    assert found.share.tolist() == [wanted[pair] for pair in sorted(wanted)]


@pytest.mark.parametrize("launch", [{"workers": 1, "memory_mb": 16}, {"workers": 3}])
def test_where_it_runs_changes_no_bytes(tmp_path, benchmarks, launch):
    texts = [f"{FILLER[:300]} {' '.join(ITEM.split()[: number % 40])}" for number in range(2500)]
    run(tmp_path, benchmarks, texts)
    paths = [str(tmp_path / "in")], [str(benchmarks)]
    decontaminate(*paths, tmp_path / "other", Decontamination(), launch=BatchLaunch(**launch))
    assert content_digest(tmp_path / "other") == content_digest(tmp_path / "out")
