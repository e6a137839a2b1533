"""The documents of the arms, counted by hand."""

import json
import random

import pytest

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, document_id, read_documents
from llm_core.params import Params
from llm_core.training.ablation import arms

WORDS = [f"word{number}" for number in range(200)]


def text(number: int) -> str:
    """Forty words, others for each number."""
    return " ".join(random.Random(number).choices(WORDS, k=40))


def write(folder, numbers, texts=None):
    with DocumentWriter(folder / "documents") as writer:
        writer.write_rows(
            [
                {
                    "id": document_id("web", str(n)),
                    "source": "web",
                    "text": (texts or {}).get(n, text(n)),
                    "license": "public-domain",
                    "metadata": json.dumps({"site": str(n % 5)}),
                }
                for n in numbers
            ]
        )
    return folder


def ids(folder):
    return {name for batch in read_documents(folder, ["id", "text"]) for name in batch.column("id").to_pylist()}


def test_the_negative_control_drops_as_many_bytes_as_the_treatment_moved(tmp_path):
    control = write(tmp_path / "control", range(40))
    treated = write(tmp_path / "treated", range(6, 42), {7: text(7) + " once"})  # 6 removed, 2 added, 1 changed
    (row,) = arms.moved(control, treated)
    assert (row["removed"], row["added"], row["changed"]) == (6, 2, 1)
    sizes = arms.sizes(control)
    kept = ids(arms.negative(control, treated, tmp_path / "negative", seed=1))
    dropped = sum(size for name, (_, _, size) in sizes.items() if name not in kept)
    moved = sum(size for name, (_, _, size) in sizes.items() if name not in ids(treated))
    moved += sum(len(text(n)) for n in (40, 41)) + 2 * len(text(7)) + len(" once")
    assert abs(dropped - moved) <= max(size for *_, size in sizes.values()) / 2
    assert kept < ids(control)
    assert kept == ids(arms.negative(control, treated, tmp_path / "again", seed=1))
    assert kept != ids(arms.negative(control, treated, tmp_path / "other", seed=2))


def test_the_negative_control_keeps_half_of_a_source_however_much_the_treatment_moved(tmp_path):
    control = write(tmp_path / "control", range(40))
    treated = write(tmp_path / "treated", range(200))  # 160 added: four times what there was
    kept = arms.sizes(arms.negative(control, treated, tmp_path / "negative", seed=1))
    before = sum(size for *_, size in arms.sizes(control).values())
    after = sum(size for *_, size in kept.values())
    assert before / 2 <= after < before / 2 + max(size for *_, size in kept.values())


def test_the_treatment_never_sees_a_held_out_text_its_copy_or_its_group(tmp_path):
    data = tmp_path / "data"
    copies = {20: text(3) + " and a few words more"}  # number 20 nearly repeats the held-out number 3
    write(data / "raw/web", range(30), copies)
    write(data / "split/heldout", [3])
    (data / "benchmarks").mkdir()
    (data / "benchmarks/task.jsonl").write_text(json.dumps({"id": "1", "text": " ".join(WORDS[::-1])}) + "\n")
    params = Params.model_validate(
        {
            "sources": {"web": {"kind": "files", "paths": ["unused"], "license": "public-domain"}},
            "deduplication": {"near": False},
            "split": {"group_by": {"web": "site"}},
        }
    )
    kept = ids(arms.treatment(arms.Project(data, tmp_path / "takedowns.jsonl"), params, tmp_path / "out"))
    expected = {document_id("web", str(n)) for n in range(30) if n % 5 != 3 and n != 20}
    assert kept == expected


def test_only_a_change_of_the_datas_recipe_is_an_ablation():
    arms.check_change(["cleaning.min_characters=20"])
    with pytest.raises(UserError, match="changes one of cleaning"):
        arms.check_change(["pretraining.steps=10"])
    with pytest.raises(UserError, match="--change KEY=VALUE"):
        arms.check_change([])
