"""A benchmark judged by a model: one trained to know equal words, one whose verdict torch computes by itself."""

import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from llm_core.errors import UserError
from llm_core.evaluation.harness import score_benchmarks, summarize
from llm_core.evaluation.items import fetch_benchmarks
from llm_core.evaluation.journal import Journal
from llm_core.evaluation.judge import doubts, judge_rows, judges, refuse_itself
from llm_core.evaluation.own import judge_record
from llm_core.evaluation.stage import evaluate, load
from llm_core.params import Params, validate
from llm_core.params.evaluation import Evaluation, Judge
from llm_core.params.external import external_inputs
from llm_core.params.open_models import OpenModel
from llm_core.params.sources import Network
from llm_core.runtime.storage import read_json
from llm_core.tracking import runs

WORDS = ["iron", "salt", "rain", "bread", "stone", "milk"]
PROMPT = "{{reference}} {{answer}} same ?"
DOCS = [{"id": str(at), "question": f"word {at} ?", "answers": [word]} for at, word in enumerate(WORDS)]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of words, trained until it says `yes` behind two equal words and `no` behind two different ones."""
    torch.set_num_threads(1)
    vocabulary = {word: at for at, word in enumerate(["<end>", "same", "?", "yes", "no", *WORDS])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<end>", eos_token="<end>", unk_token="<end>")
    torch.manual_seed(1)
    sizes = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    sizes |= {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "initializer_range": 0.2}
    network = GPT2LMHeadModel(GPT2Config(vocab_size=len(vocabulary), **sizes))
    pairs = list(itertools.product(WORDS, WORDS)) + [(word, word) for word in WORDS] * 4
    rows = torch.tensor(tokenizer([f"{a} {b} same ? {'yes' if a == b else 'no'}" for a, b in pairs])["input_ids"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(90):
        loss = torch.nn.functional.cross_entropy(network(rows[:, :-1]).logits[:, -1], rows[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("judge") / "model"
    network.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def asked(folder: Path, **rest: Any) -> Judge:
    return Judge(model=str(folder), prompt=PROMPT, **rest)


def test_a_trained_judge_prefers_right_answers(judge: Path) -> None:
    record = judge_record("words", asked(judge), {})
    given = ["iron", "bread", "rain", "iron", "stone", "milk"]
    rows = judge_rows("words", record, DOCS, given, Evaluation(), Journal())
    assert [row["judge"] > 0.9 for row in rows] == [True, False, True, False, True, True]
    assert [row["judge"] < 0.1 for row in rows] == [False, True, False, True, False, False]
    for row in rows:
        assert row["judge_right"] > 0.9 and row["judge_wrong"] < 0.1 and row["judge_prefers_right"] == 1
        assert 0.9 < row["judge_mass"] <= 1 + 1e-6
    assert rows[0]["majority"] > 0.9 > 0.1 > rows[1]["majority"], "`iron` to every question is right once"
    score = summarize([{"task": "words", "id": doc["id"], **row} for doc, row in zip(DOCS, rows, strict=True)])["words"]
    assert score["metric"] == "judge" and score["judge_low"] < score["judge"] < score["judge_high"]
    assert doubts(score) is None, "six of six: the low end of the interval is 0.61"


def test_a_score_is_the_mean_of_the_verdicts_by_their_probabilities(gpt2: Path) -> None:
    values: dict[Any, float] = {"good": 2.0, "quite bad": -1.0, 0: 0.5}
    prompt = "Is {{answer}} the same as {{reference}}?"
    record = judge_record("words", Judge(model=str(gpt2), prompt=prompt, verdicts=values), {})
    docs = [*DOCS[:2], {"id": "9", "question": "?", "answers": ["Rain", "snow"]}]
    rows = judge_rows("words", record, docs, [" salt\n", "", "hail"], Evaluation(batch_size=2), Journal())
    network, tokenizer = load(gpt2)
    for doc, answer, row in zip(docs, ["salt", "", "hail"], rows, strict=True):
        text = f"Is {answer} the same as {' / '.join(doc['answers'])}?"
        odds = []
        for word in values:
            before, ids = tokenizer(text)["input_ids"], tokenizer(f"{text} {word}")["input_ids"]
            with torch.inference_mode():
                logs = network(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            odds.append(math.exp(sum(logs[at - 1, ids[at]].item() for at in range(len(before), len(ids)))))
        wanted = sum(p * value for p, value in zip(odds, values.values(), strict=True)) / sum(odds)
        assert row["judge"] == pytest.approx(wanted, rel=1e-4)
        assert row["judge_mass"] == pytest.approx(sum(odds), rel=1e-4)


def test_a_judge_that_knows_nothing_is_doubted(gpt2: Path) -> None:
    record = judge_record("words", asked(gpt2), {})
    rows = judge_rows("words", record, DOCS, WORDS, Evaluation(), Journal())
    score = summarize([{"task": "words", "id": doc["id"], **row} for doc, row in zip(DOCS, rows, strict=True)])["words"]
    assert "so the judge would write something else" in str(doubts(score)), "the verdicts are two of 400 tokens"
    assert "say nothing; take a larger judge" in str(doubts(score | {"judge_mass": 0.5}))
    alike = judge_rows("words", record, [DOCS[0], DOCS[0]], ["iron", "iron"], Evaluation(), Journal())
    assert "judge_wrong" not in alike[0] and "not known what the judge is worth" in str(doubts({"judge_mass": 0.5}))


@pytest.fixture
def project(judge: Path, gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Params of an own benchmark that is judged; its items are in `benchmarks`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(judge, "judge")
    Path("q.jsonl").write_text(
        "".join(json.dumps({"question": d["question"], "answer": d["answers"]}) + "\n" for d in DOCS)
    )
    own = {"path": "q.jsonl", "kind": "judge", "judge": {"model": "judge", "prompt": PROMPT}, "max_new_tokens": 4}
    values = {"evaluation": {"benchmarks": {"tasks": [], "own": {"words": own}}, "tasks": ["words"], "prompts": []}}
    fetch_benchmarks(Params.model_validate(values).evaluation.benchmarks, Network(), Path("benchmarks"))
    return values


@pytest.mark.slow
def test_the_stage_names_the_judge_and_gives_the_same_bytes_after_a_kill(
    project: dict[str, Any], gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd()}/mlflow.db")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    params = Params.model_validate(project)
    found = evaluate(gpt2, Path("out"), params, benchmarks=Path("benchmarks"))["benchmarks"]["words"]
    weights = judges(Path("benchmarks"))["words"]["weights"]
    assert found["judged_by"] == f"judge (weights {weights[:12]})" and found["items"] == 6
    assert found["judge_prefers_right"] == 1 and "judge_doubt" not in found
    asked = {name: runs.client().get_prompt_version(name, 1).template for name in ("benchmark-words", "judge-words")}
    assert asked == {"benchmark-words": "Question: {{question}}\nAnswer:", "judge-words": PROMPT}
    rows = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert list(rows[0])[2] == "judge", "the first metric is shown and compared"
    journal = Journal("a run")
    again = score_benchmarks(*load(gpt2), Path("benchmarks"), params.evaluation, journal=journal)
    before = journal.file and journal.file.stat().st_size
    assert again == score_benchmarks(*load(gpt2), Path("benchmarks"), params.evaluation, journal=journal)
    assert before and journal.file and journal.file.stat().st_size == before, "nothing was computed twice"
    assert [row["judge"] for row in again] == pytest.approx([row["judge"] for row in rows], rel=1e-9)


def test_a_model_is_not_its_own_judge(project: dict[str, Any], judge: Path, gpt2: Path) -> None:
    (Path("judge") / "README.md").write_text("another card")
    with pytest.raises(UserError, match=r"is also the judge of the benchmark 'words' \(judge: the same weights\)"):
        evaluate(judge, Path("out"), Params.model_validate(project), benchmarks=Path("benchmarks"))
    refuse_itself(gpt2, Path("benchmarks"), ["words"])
    refuse_itself(judge, Path("benchmarks"), ["arc_easy"])
    project["open_models"] = {"big": {"from": "judge"}}
    project["evaluation"] |= {"models": ["base", "big"]}
    project["evaluation"]["benchmarks"]["own"]["words"]["judge"]["model"] = "big"
    with pytest.raises(UserError, match=r"words.judge.model: big is in evaluation.models too.*take another judge"):
        validate(project, "params.yaml")


def test_the_judges_content_is_an_input_and_must_stay(project: dict[str, Any], gpt2: Path) -> None:
    assert external_inputs(Params.model_validate(project))["benchmarks"] == ["q.jsonl", "judge"]
    project["open_models"] = {"big": {"from": "judge"}, "far": {"from": "some/model", "revision": "a" * 40}}
    for model, origin in (("big", "judge"), ("data/models/big", "judge"), ("far", f"some/model@{'a' * 40}")):
        project["evaluation"]["benchmarks"]["own"]["words"]["judge"]["model"] = model
        assert external_inputs(Params.model_validate(project))["benchmarks"] == ["q.jsonl", origin]
    opened = {"big": OpenModel.model_validate({"from": "judge"})}
    assert judge_record("words", Judge(model="big"), opened)["place"] == "judge"
    (Path("judge") / "model.safetensors").write_bytes((gpt2 / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="the judge of 'words' is not there as it was fetched"):
        score_benchmarks(*load(gpt2), Path("benchmarks"), Evaluation(tasks=["words"]))
    assert read_json("benchmarks/manifest.json")["words"]["judge"]["verdicts"] == {"yes": 1.0, "no": 0.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"judge": None}, "which needs one: judge: {model: FOLDER}"),
        ({"kind": "f1"}, "`judge` belongs to the kind judge"),
        ({"judge": {"model": "judge", "verdicts": {"yes": 1, "no": 1}}}, "at least two different finite values"),
        ({"judge": {"model": "judge", "verdicts": {"1": 1, "10": 10}}}, "'10' begins with '1'"),
        ({"judge": {"model": "judge", "verdicts": {" yes": 1, "no": 0}}}, "without blanks at its ends"),
        ({"judge": {"model": "judge", "verdicts": {True: 1, False: 0}}}, "write yes and no in quotes"),
        ({"judge": {"model": "data/models/base"}}, "is made by the graph, after the benchmarks"),
    ],
)
def test_a_judge_in_params_that_does_not_fit(project: dict[str, Any], change: dict[str, Any], said: str) -> None:
    project["evaluation"]["benchmarks"]["own"]["words"] |= change
    with pytest.raises(ValidationError, match=said):
        Params.model_validate(project)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "nowhere"}, r"nowhere is no folder and no name in open_models \(open_models has none\)"),
        ({"prompt": "{{question}}?"}, r"judge.prompt: holds no \{\{answer\}\}"),
        ({"prompt": "{{answer}} {{town}}"}, "there is no 'town'"),
        ({"prompt": "{{answer"}, "judge.prompt: "),
        ({"chat": True}, "judge.chat: judge has no chat template"),
    ],
)
def test_a_judge_that_cannot_judge(project: dict[str, Any], change: dict[str, Any], said: str) -> None:
    project["evaluation"]["benchmarks"]["own"]["words"]["judge"] |= change
    params = Params.model_validate(project)
    with pytest.raises(UserError, match=said) as error:
        fetch_benchmarks(params.evaluation.benchmarks, Network(), Path("again"))
    assert "\n" not in str(error.value)
