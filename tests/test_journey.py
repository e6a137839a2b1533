"""The journey of somebody with own documents, own tasks and an open model: params.yaml alone.

`llm-core init` writes params.yaml; `dvc repro` runs the graph to the report; nothing of the demonstration corpus is in
any output; a changed file makes exactly its chain stale, and Dagster's job brings that chain up to date. The test makes
the numbers of init's params.yaml smaller, so that it takes minutes, and edits no other file.
"""

import bz2
import csv
import json
import random
import shutil
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from llm_core.cli.summary import app as summary
from pipelines.plan import plan
from tests.llm_core.corpus.sources import office_files, test_mediawiki
from tests.test_graph import code_location, copy_project, environment, repro, start_history

pytestmark = pytest.mark.slow
WORDS = [
    word
    for line in (
        "river stone winter market letter garden window engine harbour village teacher question",
        "summer bridge forest mountain kitchen silver morning evening shadow answer country painter",
        "station island weather ticket journey",
    )
    for word in line.split()
]
KINDS = ("txt", "md", "html", "rst", "json", "py", "pdf", "docx", "epub", "odt", "pptx")
DEMO = ("factbook", "shakespeare", "bible", "romeo", "creativecommons", "addresses to congress", "president")
LOCK = "experiments/retrieval/dvc.lock"
SMALL = {
    "retrieval.encoder": "none",
    "pretraining.steps": 8,
    "evaluation.limit": 4,
    "evaluation.tasks": ["quiz", "said"],  # tests/test_graph.py has the public benchmarks in its graph
    "evaluation.benchmarks.tasks": [],
    "evaluation.language_modelling.tokens_per_source": 500,
    "evaluation.answers": 4,
    "evaluation.answer_tokens": 4,
    "pretraining.evaluate_every": 4,
    "pretraining.checkpoint_every": 4,
}


def sentence(draw: random.Random) -> str:
    """Fourteen words that no other sentence has in this order."""
    return " ".join(draw.choices(WORDS, k=14)).capitalize() + "."


def paragraphs_of(draw: random.Random) -> list[str]:
    return [" ".join(sentence(draw) for _ in range(4)) for _ in range(3)]


def write_documents(folder: Path) -> None:
    """300 files of the kinds that people have: two of them the same, an archive of two, a wiki of two pages, a scan."""
    draw = random.Random(4)
    for number in range(296):
        paragraphs = paragraphs_of(draw)
        ending = KINDS[number % len(KINDS)]
        file = folder / f"part {number % 7}" / f"note-{number:03}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if ending in ("pdf", "docx", "epub"):
            file.write_bytes(getattr(office_files, ending)(paragraphs, title=f"Note {number}"))
            continue
        if ending == "odt":
            body = "".join(f"<text:p>{text}</text:p>" for text in paragraphs)
            file.write_bytes(office_files.odt(body, title=f"Note {number}"))
            continue
        if ending == "pptx":
            slides = [(f"Slide {at}", text, "") for at, text in enumerate(paragraphs, 1)]
            file.write_bytes(office_files.pptx(slides, title=f"Note {number}"))
            continue
        if ending == "html":
            body = "".join(f"<p>{text}</p>" for text in paragraphs)
            text = f"<html><head><title>Note {number}</title></head><body><article>{body}</article></body></html>"
        elif ending == "json":
            text = json.dumps({"id": f"note-{number}", "text": "\n".join(paragraphs)})
        elif ending == "py":
            text = f'"""{paragraphs[0]}"""\n\nNOTE = """{paragraphs[1]}"""\n'
        else:
            text = f"Note {number}\n\n" + "\n\n".join(paragraphs) + "\n"
        file.write_text(text, encoding="utf-8")
    shutil.copy(folder / "part 0/note-000.txt", folder / "part 1/again.txt")
    members = {
        "old/letter.md": "\n\n".join(paragraphs_of(draw)),
        "old/note.docx": office_files.docx(paragraphs_of(draw)),
    }
    (folder / "papers.zip").write_bytes(office_files.zipped(members))
    pages = [test_mediawiki.page(number, "\n\n".join(paragraphs_of(draw))) for number in (1, 2)]
    (folder / "wiki.xml.bz2").write_bytes(bz2.compress(test_mediawiki.dump(*pages)))
    (folder / "scan.pdf").write_bytes(office_files.pdf(["", ""], title="A scan"))


def write_tasks(folder: Path) -> None:
    """A CSV of reviews with columns of its own, JSONL files of topics, of instructions and of questions with choices.

    The first question is in a document word by word.
    """
    draw = random.Random(5)
    with open(folder / "reviews.csv", "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["review", "stars"])
        for number in range(60):
            mood = ("good", "bad")[number % 2]
            rows.writerow([f"A {mood} {draw.choice(WORDS)} and a {mood} {draw.choice(WORDS)}, number {number}.", mood])
    topics = [
        {
            "text": f"The {word} of {draw.choice(WORDS)} and {draw.choice(WORDS)}, {at}.",
            "label": ("a", "b", "c")[at % 3],
        }
        for at, word in enumerate(draw.choices(WORDS, k=60))
    ]
    (folder / "topics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in topics))
    asked = [
        {"instruction": f"What comes after {word}, {at}?", "input": "", "output": f"The {draw.choice(WORDS)}."}
        for at, word in enumerate(draw.choices(WORDS, k=60))
    ]
    (folder / "instructions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    quiz = []
    for at in range(20):
        words = draw.sample(WORDS, 4)
        quiz.append({"question": sentence(draw), "options": words, "right": words[at % 4 if at % 3 else 0]})
    (folder / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in quiz))
    open_questions = [{"question": one["question"], "answer": one["right"]} for one in quiz[:8]]
    (folder / "open.jsonl").write_text("".join(json.dumps(row) + "\n" for row in open_questions))
    with open(folder / "my notes/part 2/note-002.html", "a", encoding="utf-8") as stream:
        stream.write(f"<article><p>{' '.join(sentence(draw) for _ in range(6))} {quiz[0]['question']}</p></article>")


def write_model(folder: Path, seed: int = 0) -> None:
    """A LLaMA with random weights and a tokenizer of its own, trained on other words."""
    script = """
import sys
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
tokenizer.train_from_iterator(["the open model was trained on other words than these"] * 4, trainer)
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
fast.save_pretrained(sys.argv[1])
config = LlamaConfig(vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=2, max_position_embeddings=256, bos_token_id=0, eos_token_id=1)
torch.manual_seed(int(sys.argv[2]))
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
"""
    subprocess.run([sys.executable, "-c", script, str(folder), str(seed)], check=True, env=environment(folder.parent))


def changed(text: str) -> set[str]:
    """The stages that ran, by what `dvc repro` printed."""
    return {line.split("'")[1] for line in text.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after init and `dvc repro`."""
    folder = tmp_path_factory.mktemp("journey")
    copy_project(folder)
    write_documents(folder / "my notes")
    write_tasks(folder)
    write_model(folder / "open")
    write_model(folder / "judge", seed=1)
    arguments = ["--documents", "my notes", "--license", "CC0-1.0", "--model", "open"]
    for text in (
        "mood=classification:reviews.csv",
        "topics=classification:topics.jsonl",
        "chat=instruction:instructions.jsonl",
    ):
        arguments += ["--finetune", text]
    arguments += ["--columns", "mood:text=review,label=stars"]
    arguments += ["--benchmark", "quiz=quiz.jsonl", "--columns", "quiz:choices=options,answer=right"]
    command = ["llm-core", "init", *arguments]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)
    (folder / "params.yaml.before").unlink()
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for run in params["finetuning"]["runs"].values():
        run |= {"max_steps": 3, "max_length": 64, "zero_stage": None, "evaluations": 1}
        if run["method"] == "instruction":
            run |= {"max_new_tokens": 4, "scored_items": 4}
    for key, value in SMALL.items():
        *sections, last = key.split(".")
        reduce(getitem, sections, params)[last] = value
    judged = {"path": "open.jsonl", "kind": "judge", "judge": {"model": "judge"}, "max_new_tokens": 4}
    params["evaluation"]["benchmarks"]["own"]["said"] = judged
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    start_history(folder)
    repro(folder)
    return folder


def test_the_report_speaks_of_these_sources_and_finetunes(journey: Path) -> None:
    report = (journey / "data/report/report.html").read_text(encoding="utf-8")
    for name in ("my-notes", "mood", "topics", "chat"):
        assert name in report, name
    for run in ("base", "mood", "topics", "chat"):
        assert json.loads((journey / f"data/champion/{run}.json").read_text())["champion"], run
    ledger = json.loads((journey / "data/dedup/metrics.json").read_text())
    assert ledger["dropped_by_reason"]["exact_duplicate"] == 1


def test_every_file_is_read_or_counted_by_its_reason(journey: Path) -> None:
    counted = json.loads((journey / "data/raw/my-notes/metrics.json").read_text())
    assert counted["documents_kept"] == 296 + len(["again.txt"]) + len(["letter.md", "note.docx"]) + 2
    assert counted["dropped_by_reason"] == {"quarantine_no_text_layer": 1}, "the scan"
    rows = pq.read_table(journey / "data/raw/my-notes/documents", columns=["text", "metadata"]).to_pylist()
    files = [json.loads(row["metadata"] or "{}").get("file", "") for row in rows]
    named = {name.rpartition(".")[2] for name in files}
    assert named >= {"pdf", "docx", "epub", "odt", "pptx"}, named
    assert sum("papers.zip!/old/" in name for name in files) == 2
    assert sum(json.loads(row["metadata"] or "{}").get("title", "").startswith("Seite") for row in rows) == 2
    assert all(len(row["text"].split()) > 28 for row in rows)


def test_the_own_benchmark_is_scored_reported_and_kept_out_of_the_training_text(journey: Path) -> None:
    score = json.loads((journey / "data/evaluation/base/metrics.json").read_text())["benchmarks"]["quiz"]
    assert score["items"] == 4 and score["chance"] == 0.25 and score["metric"] == "acc"
    assert score["acc_low"] <= score["acc"] <= score["acc_high"] and 0 < score["majority"] <= 1
    rows = (journey / "data/evaluation/base/results.jsonl").read_text().splitlines()
    assert sum(json.loads(row)["task"] == "quiz" for row in rows) == 4
    assert "quiz, base" in (journey / "data/report/report.html").read_text(encoding="utf-8")
    cleaned = json.loads((journey / "data/decontaminated/metrics.json").read_text())
    assert cleaned["items"]["quiz"] == {"items": 20, "touched": 1, "held": 1}
    assert cleaned["dropped_by_reason"] == {"contaminated": 1}


def test_another_model_judges_answers_and_is_named(journey: Path) -> None:
    for name in ("base", "chat"):
        score = json.loads((journey / f"data/evaluation/{name}/metrics.json").read_text())["benchmarks"]["said"]
        assert score["metric"] == "judge" and score["judge_low"] < score["judge"] < score["judge_high"], name
        assert score["judged_by"].startswith("judge (weights ") and "something else" in score["judge_doubt"], name
    report = (journey / "data/report/report.html").read_text(encoding="utf-8")
    assert f"said was judged by the model {score['judged_by']}" in report


def test_nothing_of_the_demonstration_is_in_any_output(journey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(journey)
    told = CliRunner().invoke(summary, [], catch_exceptions=False).output.casefold()
    assert "my-notes" in told and not [word for word in DEMO if word in told], told
    texts = [journey / "params.yaml", *(file for file in (journey / "data").rglob("*") if file.is_file())]
    for file in texts:
        if file.suffix in (".html", ".md", ".json", ".jsonl", ".yaml", ".csv") and "benchmarks" not in file.parts:
            found = file.read_text(encoding="utf-8").casefold()
            assert not [word for word in DEMO if word in found], file


def test_the_models_own_tokenizer_was_used(journey: Path) -> None:
    for name in ("data/tokenizer", "data/models/base", "data/models/mood"):
        mine, own = (
            json.loads((folder / "tokenizer.json").read_text()) for folder in (journey / name, journey / "open")
        )
        assert mine["model"]["vocab"].items() >= own["model"]["vocab"].items(), name


def test_the_plan_of_a_changed_document_is_its_chain_and_that_of_nothing_is_empty(journey: Path) -> None:
    file = journey / "my notes/part 0/note-000.txt"
    before = file.read_text(encoding="utf-8")
    file.write_text(f"{before}\nA line more.\n", encoding="utf-8")
    planned = {item.stage: item.sure for item in plan(journey)}
    file.write_text(before, encoding="utf-8")
    stages = set(yaml.safe_load((journey / "dvc.lock").read_text())["stages"])
    untouched = {"benchmarks", "open-model@open", *(f"finetune-data@{name}" for name in ("mood", "topics", "chat"))}
    assert planned.keys() == stages - untouched
    assert {stage for stage, sure in planned.items() if sure} == {"inputs", "download@my-notes"}
    assert plan(journey) == []


def test_search_and_answers_are_measured_on_questions_that_params_name(journey: Path) -> None:
    repro(journey, "experiments/retrieval/dvc.yaml:evaluate-retrieval@chat")
    measured = json.loads((journey / "data/retrieval/chat/metrics.json").read_text())
    asked = (journey / "data/finetuning/chat/test.jsonl").read_text().splitlines()
    assert measured["search"]["questions"] == measured["answers"]["questions"] == len(asked) > 0
    assert [stage.partition("@")[0] for stage in yaml.safe_load((journey / LOCK).read_text())["stages"]] == [
        "index", "evaluate-retrieval",
    ]  # fmt: skip


def test_a_changed_file_makes_its_chain_stale_and_dagster_brings_it_up_to_date(
    journey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(journey / "reviews.csv", "a", encoding="utf-8") as stream:
        stream.write("A good ending and a good start at last.,good\n")
    job = code_location(journey, monkeypatch).resolve_job_def("whole_graph")
    before = yaml.safe_load((journey / "dvc.lock").read_text())["stages"]
    with dg.DagsterInstance.ephemeral() as instance:
        success = job.execute_in_process(instance=instance, raise_on_error=False).success
    after = yaml.safe_load((journey / "dvc.lock").read_text())["stages"]
    moved = {name for name in after if after[name] != before[name]}
    passed = json.loads((journey / "data/registry/mood.json").read_text())["passed"]
    assert success is passed  # a challenger that is not better stops the job before its promotion
    chain = {f"{stage}@mood" for stage in ("finetune-data", "finetune", "evaluate-run", "register-run")}
    assert moved - {"promote-run@mood"} == chain | {"report"}
    assert changed(repro(journey)) == {"inputs"} | (set() if passed else {"promote-run@mood"})
