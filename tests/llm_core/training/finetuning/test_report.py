"""The report's section about a finetuned model, from the files that `finetune` writes; figures worked by hand."""

import json

from llm_core.formats.pages import GROUPS
from llm_core.report.finetuning import finetuned

CHANGE = {"before": 0.5, "after": 0.75, "change": 0.25, "change_standard_error": 0.1, "p_value": 0.01, "items": 8}


def model(folder, method, **metrics):
    folder.mkdir(parents=True)
    common = {
        "method": method,
        "adapter": "lora",
        "parent": {"path": "data/models/base", "digest": "0123456789abcdef"},
        "training": {"steps": 4, "trained_parameters": 1, "parameters": 100},
    }
    (folder / "metrics.json").write_text(json.dumps(common | metrics))


def leaves(blocks):
    """The blocks of a section in reading order, those of groups and columns in place of these."""
    return [leaf for block in blocks for leaf in (leaves(block.content) if block.kind in GROUPS else [block])]


def tables(blocks):
    return [block.content for block in blocks if block.kind == "table"]


def test_a_classifier_shows_before_and_after_confusions_and_reliability(tmp_path):
    folder = tmp_path / "models" / "spam"
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    alone = {"value": 0.75, "low": None, "high": None}  # the test rows are one group
    mean = {"mean": 0.75, "standard_error": None, "low": None, "high": None, "items": 4}
    model(
        folder,
        "classification",
        before={"macro_f1": score, "accuracy": 0.5},
        after={"macro_f1": alone, "accuracy": mean},
    )
    (folder / "confusion.csv").write_text("actual,predicted\nham,ham\nham,spam\nspam,spam\nspam,spam\n")
    (folder / "reliability.csv").write_text("confidence,accuracy,rows\n0.6,0.5,2\n0.9,1.0,2\n")
    blocks = leaves(finetuned(tmp_path))
    before_after, confusion = tables(blocks)
    assert before_after[0] == {
        "figure": "accuracy",
        "before": "0.5",
        "after": "0.7500 (error unknown)",
        "baseline": None,
    }
    assert before_after[1]["before"] == "0.5000 (0.4000 to 0.6000)"
    assert before_after[1]["after"] == "0.7500 (error unknown)"
    assert confusion == [
        {"actual": "ham", "as ham": 1, "as spam": 1},
        {"actual": "spam", "as ham": 0, "as spam": 2},
    ]
    assert "1.00% of the weights" in next(block.content for block in blocks if block.kind == "text")
    assert any("reliability" in block.caption for block in blocks if block.kind == "figure")


def test_reinforcement_shows_its_rise_and_the_curves_of_reward_and_kl(tmp_path):
    folder = tmp_path / "models" / "rlhf"
    kl = {"mean": 1.5, "standard_error": 0.25, "items": 64}
    model(folder, "rlhf", before={}, after={}, answer_f1_change=CHANGE, kl_nats_per_answer=kl)
    rows = [{"step": step, "reward": step / 4, "kl": step / 10} for step in (1, 2)]
    (folder / "training_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = [{"prompt": "a?", "answer": text, "right_answer": "yes"} for text in ("no", "yes")]
    (folder / "samples.json").write_text(json.dumps({"before": shown[:1], "after": shown[1:]}))
    blocks = leaves(finetuned(tmp_path))
    changes, samples = tables(blocks)[-2:]
    assert changes[0] == {
        "change of": "word F1 of the answer with the right one",
        "by": "+0.2500\u00a0±\u00a00.1000",
        "items": 8,
        "p": 0.01,
    }
    assert changes[1]["by"] == "1.5000\u00a0±\u00a00.2500"
    assert samples == [{"prompt": "a?", "before": "no", "after": "yes", "wanted": "yes"}]
    captions = [block.caption for block in blocks if block.kind == "figure"]
    assert len(captions) == 2
    assert "reward" in captions[0]
    assert "KL" in captions[1]


def test_a_pretrained_model_has_no_such_section(tmp_path):
    (tmp_path / "models" / "base").mkdir(parents=True)
    (tmp_path / "models" / "base" / "metrics.json").write_text('{"steps": 4}')
    assert list(finetuned(tmp_path)) == []


def test_figures_of_each_label_and_baselines_of_a_tagger(tmp_path):
    folder = tmp_path / "models" / "names"
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    baseline = {"linear": {"f1": {"value": 0.25, "low": 0.2, "high": 0.3}}}
    model(folder, "token_classification", before={"f1": score}, after={"f1": score}, baseline=baseline)
    (folder / "per_label.csv").write_text("entity,precision,recall,f1,entities\nPLACE,0.123456,1.0,0.5,12\n")
    compared, labels = tables(leaves(finetuned(tmp_path)))[-2:]
    assert labels == [{"entity": "PLACE", "precision": "0.1235", "recall": "1.0000", "f1": "0.5000", "entities": "12"}]
    assert compared[0] == {
        "model": "linear model of words",
        "F1 of entities, 95 % bootstrap interval": "0.2500 (0.2000 to 0.3000)",
    }
