"""Each preset of a hub data set, from a miniature hub on loopback that lays out files and columns as the real one does.
The run is a process of its own, because `HF_ENDPOINT` is read once, at import.
"""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import yaml

from tests.llm_core.corpus.sources.loopback import Loopback, hub_environment, serve_hub
from tests.llm_core.open_model_folders import make
from tests.warm import start

ROWS = 20
REVISION = "0123456789" * 4
NAMES = [
    ["neg", "pos"], ["World", "Sports", "Business", "Sci/Tech"], ["ham", "spam"],
    ["sadness", "joy"], ["activate_my_card", "age_limit"], ["translate", "transfer"],
]  # fmt: skip
TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]
CONVERTED = {"eriktks/conll2003": 1, "leondz/wnut_17": 2}
"""Data sets that are scripts, which the hub has converted -> number of their types here."""
CONVERSION = "refs%2Fconvert%2Fparquet"
PREPARE = """
import json, sys
from llm_core.training.finetuning.data.dataset import from_dataset
from llm_core.params.finetuning import Data
for preset, method in json.loads(sys.argv[1]):
    split, metrics = from_dataset(method, preset, Data(near_duplicate_similarity=1.0), 1)
    rows = sorted((row for side in split.values() for row in side), key=lambda row: row["id"])
    print(json.dumps([preset, method, metrics, rows]))
"""


def parquet(columns: dict[str, list], labels: list[str] | None = None, field: str = "label") -> bytes:
    """The file as `datasets` writes it: names of a ClassLabel are in its metadata."""
    table = datasets.Dataset.from_dict(columns)
    if labels:
        table = table.cast_column(field, datasets.ClassLabel(names=labels))
    table.to_parquet(sink := io.BytesIO())
    return sink.getvalue()


def tagged(tags: list[str]) -> bytes:
    """Sentences of which the last but one word begins an entity, and the last one continues it."""
    table = datasets.Dataset.from_dict(
        {
            "id": each("{}"),
            "tokens": [["number", str(at), "Ms", "Doe"] for at in range(ROWS)],
            "ner_tags": [[0, 0, 1, 2] for _ in range(ROWS)],
        }
    )
    table = table.cast_column("ner_tags", datasets.List(datasets.ClassLabel(names=tags)))
    table.to_parquet(sink := io.BytesIO())
    return sink.getvalue()


def lines(columns: dict[str, list]) -> bytes:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def readme(config: str, **files: str) -> bytes:
    splits = "".join(f"  - split: {split}\n    path: {path}\n" for split, path in files.items())
    return f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{splits}---\n# A data set\n".encode()


def each(form: str) -> list[str]:
    return [form.replace("{}", str(at)) for at in range(ROWS)]


def talks(answer: str) -> list[list[dict[str, str]]]:
    asked = [{"role": "user", "content": f"question {at}"} for at in range(ROWS)]
    return [[turn, {"role": "assistant", "content": f"{answer} {at}"}] for at, turn in enumerate(asked)]


def labels(count: int) -> list[int]:
    return [at % count for at in range(ROWS)]


@pytest.fixture
def hub():
    site = Loopback()
    text = {"text": each("review {}")}
    asked = {"instruction": each("question {}")}
    dialogue = "\n\nHuman: hello\n\nAssistant: yes?\n\nHuman: question {}\n\nAssistant: "
    dialogues = {"chosen": each(dialogue + "good {}"), "rejected": each(dialogue + "bad {}")}
    asked_of_a_text = {
        "id": each("q{}"), "title": ["Chad"] * ROWS,
        "context": each("{} is the answer"), "question": each("what is {}?"),
        "answers": [{"text": [str(at)] * (at != 7), "answer_start": [0] * (at != 7)} for at in range(ROWS)],
    }  # fmt: skip
    twenty = {"label": [0.0] * ROWS}
    preferences = {
        "prompt": each("question {}"), "prompt_id": each("id {}"), "chosen": talks("good"), "rejected": talks("bad"),
        "messages": talks("good"), "score_chosen": [9.0] * ROWS, "score_rejected": [1.0] * ROWS,
    }  # fmt: skip
    places = {side: f"data/{side}-00000-of-00001.parquet" for side in ("train_prefs", "train_sft", "test_prefs")}
    plain = {side: f"plain_text/{side}-00000-of-00001.parquet" for side in ("train", "test", "unsupervised")}
    repositories = {
        "stanfordnlp/imdb": {"README.md": readme("plain_text", **plain)}
        | {path: parquet(text | {"label": labels(2)}, NAMES[0]) for path in plain.values()},
        "fancyzhx/ag_news": {
            f"data/{side}-00000-of-00001.parquet": parquet(text | {"label": labels(4)}, NAMES[1])
            for side in ("train", "test")
        },
        "dair-ai/emotion": {"README.md": readme("split", train=plain["train"])}
        | {plain["train"]: parquet(text | {"label": labels(2)}, NAMES[3])},
        "legacy-datasets/banking77": {
            "data/train-00000-of-00001.parquet": parquet(text | {"label": labels(2)}, NAMES[4])
        },
        "clinc/clinc_oos": {"README.md": readme("plus", train="plus/train-00000-of-00001.parquet")}
        | {"plus/train-00000-of-00001.parquet": parquet(text | {"intent": labels(2)}, NAMES[5], "intent")},
        "ucirvine/sms_spam": {
            "README.md": readme("plain_text", train=plain["train"]),
            plain["train"]: parquet({"sms": each("review {}\n"), "label": labels(2)}, NAMES[2]),
        },
        "tatsu-lab/alpaca": {
            "data/train-00000-of-00001-a09b74b3ef9c3b56.parquet": parquet(
                asked | {"input": ["", "of two"] * 10, "output": each("good {}"), "text": each("Below is {}")}
            )
        },
        "databricks/databricks-dolly-15k": {
            "databricks-dolly-15k.jsonl": lines(
                asked | {"context": ["", "of two"] * 10, "response": each("good {}"), "category": ["open_qa"] * ROWS}
            )
        },
        "Muennighoff/flan": {
            f"{side}/glue_{side}.jsonl": lines(
                {"inputs": each("question {}"), "targets": each("good {}"), "task": ["glue"] * ROWS}
            )
            for side in ("train", "test", "validation")
        },
        "Helsinki-NLP/opus-100": {
            "README.md": readme("de-en", train="de-en/train-00000-of-00001.parquet"),
            "de-en/train-00000-of-00001.parquet": parquet(
                {"translation": [{"de": f"Frage {at}", "en": f"question {at}"} for at in range(ROWS)]}
            ),
        },
        "abisee/cnn_dailymail": {
            "README.md": readme("3.0.0", train="3.0.0/train-00000-of-00001.parquet"),
            "3.0.0/train-00000-of-00001.parquet": parquet(
                {"article": each("question {}"), "highlights": each("good {}"), "id": each("id {}")}
            ),
        },
        "knkarthick/samsum": {
            "train.csv": b"id,dialogue,summary\n"
            + b"".join(f'{at},"A: question {at}\r\nB: yes",good {at}\n'.encode() for at in range(ROWS))
        },
        **{
            name: {f"{name.split('/')[1]}/train/0000.parquet": tagged(TAGS[: 2 + 2 * count])}
            for name, count in CONVERTED.items()
        },
        **{
            f"rajpurkar/{name}": {f"{folder}/train-00000-of-00001.parquet": parquet(asked_of_a_text)}
            for name, folder in (("squad", "plain_text"), ("squad_v2", "squad_v2"))
        },
        "Anthropic/hh-rlhf": {
            "harmless-base/train.jsonl.gz": gzip.compress(lines(dialogues)),
            "harmless-base/test.jsonl.gz": gzip.compress(lines(dialogues)),
            "red-team-attempts/red_team_attempts.jsonl.gz": gzip.compress(lines(twenty)),
        },
        "HuggingFaceH4/ultrafeedback_binarized": {"README.md": readme("default", **places)}
        | {path: parquet(preferences) for path in places.values()},
    }
    for name, files in repositories.items():
        serve_hub(site, name, REVISION, {"README.md": b"# A data set\n", **files})
    for name in CONVERTED:
        site.answers[f"/api/datasets/{name}/revision/{CONVERSION}"] = site.answers[f"/api/datasets/{name}"]
    yield site
    site.close()


def prepared(hub: Loopback, folder: Path, wanted: list[tuple[str, str]]) -> list[list]:
    """Preset, method, metrics and rows of each of the `wanted` presets."""
    environment = hub_environment(hub.address, folder)
    command = [sys.executable, "-c", PREPARE, json.dumps(wanted)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(preset, method) for preset, method, _, _ in found] == wanted
    for preset, _, metrics, rows in found:
        assert (metrics["rows_in"], metrics["bad_rows"], len(rows)) == (ROWS, 0, ROWS), preset
    return found


def test_every_preset_reads_the_columns_that_its_data_set_has(hub: Loopback, tmp_path: Path) -> None:
    wanted = [
        ("imdb", "classification"), ("ag_news", "classification"), ("sms_spam", "classification"),
        ("emotion", "classification"), ("banking77", "classification"), ("clinc150", "classification"),
        ("alpaca", "instruction"), ("dolly", "instruction"), ("flan", "instruction"),
        ("hh_rlhf", "dpo"), ("ultrafeedback", "reward"), ("ultrafeedback", "instruction"),
        ("opus100", "translation"), ("cnn_dailymail", "summarization"), ("samsum", "summarization"),
    ]  # fmt: skip
    found = prepared(hub, tmp_path, wanted)
    for (_, _, _, rows), names in zip(found[:6], NAMES, strict=True):
        assert {row["label"] for row in rows} == set(names)
        assert {row["text"].strip() for row in rows} == set(each("review {}"))
    for number, (preset, _, _, rows) in enumerate(found[6:9]):
        said = {tuple(turn["content"] for turn in row["messages"]) for row in rows}
        extra = ["" if at % 2 == 0 or number == 2 else "\n\nof two" for at in range(ROWS)]
        assert said == {(f"question {at}{extra[at]}", f"good {at}") for at in range(ROWS)}, preset
    human, assistant = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}
    prompts = {json.dumps(row["prompt"]): (row["chosen"], row["rejected"]) for row in found[9][3]}
    assert prompts == {
        json.dumps([human, assistant, {"role": "user", "content": f"question {at}"}]): (f"good {at}", f"bad {at}")
        for at in range(ROWS)
    }
    pairs = {(row["prompt"], row["chosen"], row["rejected"]) for row in found[10][3]}
    assert pairs == {(f"question {at}", f"good {at}", f"bad {at}") for at in range(ROWS)}
    assert sorted(json.dumps(row["messages"]) for row in found[11][3]) == sorted(json.dumps(t) for t in talks("good"))
    for (preset, _, _, rows), (source, target) in zip(
        found[12:],
        (("Frage {}", "question {}"), ("question {}", "good {}"), ("A: question {}\r\nB: yes", "good {}")),
        strict=True,
    ):
        assert {(row["source"], row["target"]) for row in rows} == {
            (source.format(at), target.format(at)) for at in range(ROWS)
        }, preset


def test_presets_of_entities_and_of_answers(hub: Loopback, tmp_path: Path) -> None:
    wanted = [("conll2003", "token_classification"), ("wnut_17", "token_classification")]
    wanted += [("squad", "question_answering"), ("squad_v2", "question_answering")]
    found = prepared(hub, tmp_path, wanted)
    for _, _, _, rows in found[:2]:
        assert {row["text"] for row in rows} == {f"number {at} Ms Doe" for at in range(ROWS)}
        assert {tuple(row["tags"]) for row in rows} == {("O", "O", "B-PER", "I-PER")}
    for _, _, _, rows in found[2:]:
        answers = {row["id"]: [answer["text"] for answer in row["answers"]] for row in rows}
        assert answers == {f"q{at}": [str(at)] if at != 7 else [] for at in range(ROWS)}


@pytest.mark.slow
def test_a_preset_of_intents_is_fetched_prepared_and_trained_on_by_the_verbs(hub: Loopback, tmp_path: Path) -> None:
    make("gpt2", tmp_path / "data/models/small")
    run = {
        "method": "classification",
        "parent": "small",
        "data": {"path": "data/datasets/banking77", "near_duplicate_similarity": 1.0},
        "max_steps": 2,
        "max_length": 32,
        "zero_stage": None,
        "evaluations": 1,
    }
    params = {"finetuning": {"datasets": {"banking77": {}}, "runs": {"intents": run}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    environment = hub_environment(hub.address, tmp_path / "hf") | {"LLM_CORE_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    for words in (
        ["fetch-dataset", "banking77", "--out", "data/datasets/banking77"],
        ["finetune-data", "intents", "--out", "rows"],
        ["finetune", "intents", "--model", "data/models/small", "--rows", "rows", "--out", "model"],
    ):
        python = sys.executable if words[0].startswith("fetch") else start.python()  # HF_ENDPOINT is read at import
        command = [python, "-m", "llm_core.cli", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    about = json.loads((tmp_path / "data/datasets/banking77/.dataset.json").read_text())
    assert about["revision"] == REVISION, "the newest commit was taken and is recorded"
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert set(config["id2label"].values()) == set(NAMES[4])
