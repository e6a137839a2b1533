"""Baselines against scikit-learn's own pipeline on the same rows, and what a report and an evaluation show of them."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

from llm_core.evaluation.finetuned import TESTED, read_tested, summarize_tested
from llm_core.evaluation.gate import difference
from llm_core.params.evaluation import Gate
from llm_core.report.finetuning import finetuned
from llm_core.training.finetuning import stage
from llm_core.training.finetuning.baselines import most_frequent, overlap, tfidf
from llm_core.training.finetuning.calibration import label_figures, macro_f1
from llm_core.training.finetuning.data.twins import jaccard, shingles
from llm_core.training.finetuning.entity_metrics import entity_figures
from llm_core.training.finetuning.methods import classification, dpo, reward
from llm_core.training.finetuning.methods.summarization import lead
from llm_core.training.finetuning.scoring import mean_and_error, paired, sign_test
from llm_core.training.finetuning.sentence_baselines import overlapping_sentence, weighted_sentences
from llm_core.training.finetuning.stage import _tested as measured_rows
from llm_core.training.finetuning.word_translation import dictionary, translate
from tests.llm_core.training.finetuning import tiny
from tests.llm_core.training.finetuning.test_report import leaves

WORDS = {"good": ("fine", "warm", "kind"), "bad": ("cold", "sour", "grim")}


def rows(count, shift=0):
    made = []
    for at in range(count):
        label = "good" if at % 3 else "bad"
        words = WORDS[label][at % 3 :] + (("cold",) if at % 5 == 0 else ())
        made.append({"text": f"a {' '.join(words)} film number {at + shift}", "label": label})
    return made


def job(**knobs):
    params = classification.Classification(**knobs)
    return SimpleNamespace(
        rows={"train": rows(60), "heldout": rows(12, 100), "test": rows(21, 200)}, params=params, seed=1
    )


def preferred(count, longer):
    """Pairs of which a word decides, and the first `longer` have the longer answer as the chosen one."""
    made = []
    for at in range(count):
        word, other = WORDS["good"][at % 3], WORDS["bad"][at % 2]
        chosen = f"{word} indeed it was" if at < longer else word
        rejected = other if at < longer else f"{other} indeed it was"
        made.append({"prompt": f"how was film {at}?", "chosen": chosen, "rejected": rejected})
    return made


def test_preferences_have_a_baseline_of_length_and_a_linear_one():
    knobs = SimpleNamespace(max_length=64)
    long = {"prompt": "word " * 80, "chosen": "a b", "rejected": "c"}  # in no figure of the model either
    even = {"prompt": "which?", "chosen": "one one", "rejected": "one one"}  # no baseline has a preference
    sides = {"train": preferred(12, 6), "heldout": preferred(6, 3), "test": [*preferred(8, 2), even, long]}
    found = reward.baseline(SimpleNamespace(rows=sides, params=knobs, tokenizer=tiny.tokenizer(), method="reward"))
    longer, linear = (found[name]["accuracy"] for name in ("longer_answer", "tfidf_logistic_regression"))
    assert longer["items"] == linear["items"] == 9
    assert longer["mean"] == pytest.approx(2.5 / 9) and linear["mean"] == pytest.approx(8.5 / 9)
    assert longer["low"] < longer["mean"] < longer["high"]
    for method in (reward.METHOD, dpo.METHOD):
        assert set(found) <= set(method.figures) and method.score == "accuracy" and method.baseline is reward.baseline


def test_both_baselines_have_the_figures_that_scikit_learn_computes():
    given = job(class_weights="none")
    found = classification.baseline(given)
    texts = {side: [row["text"] for row in side_rows] for side, side_rows in given.rows.items()}
    labels = {side: [row["label"] for row in side_rows] for side, side_rows in given.rows.items()}
    fitted = [
        make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
            LogisticRegression(C=strength, max_iter=1000),
        ).fit(texts["train"], labels["train"])
        for strength in (0.1, 1, 10, 100)
    ]
    best = max(fitted, key=lambda model: model.score(texts["heldout"], labels["heldout"]))  # the first of equals
    for name, decided in {
        "most_frequent_label": ["good"] * 21,
        "tfidf_logistic_regression": best.predict(texts["test"]),
    }.items():
        figures = found[name]
        assert figures["accuracy"]["mean"] == accuracy_score(labels["test"], decided), name
        assert figures["macro_f1"]["value"] == f1_score(labels["test"], decided, average="macro"), name
    guess = found["most_frequent_label"]["accuracy"]
    assert guess["mean"] == pytest.approx(14 / 21)
    assert guess["low"] < guess["mean"] < guess["high"]
    assert found == classification.baseline(job(class_weights="none"))  # nothing is drawn


def test_macro_f1_is_scikit_learns():
    generator = np.random.default_rng(3)
    for labels in (2, 5, 40):
        truth, decided = generator.integers(0, labels, (2, 60))
        assert macro_f1(truth, decided) == f1_score(truth, decided, average="macro")
    assert macro_f1(np.array([3, 3]), np.array([1, 3])) == f1_score([3, 3], [1, 3], average="macro")


def test_texts_without_a_word_have_a_feature_and_no_error():
    features = tfidf({"train": ["?!", "..."], "test": ["!"]})
    assert (features["train"].shape, features["test"].nnz) == ((2, 1), 0)


def test_baselines_read_scripts_without_spaces_and_vowel_signs():
    """As clauses between punctuation no Chinese text shares a feature with another, and the baseline knows nothing."""
    topics = {"河": ("长江流经多个省份", "黄河流入渤海湾"), "城": ("北京城人口众多", "上海城高楼林立")}
    made = [
        {"text": f"{text}第{chr(0x4E00 + at * 7)}段", "label": label}
        for at in range(12) for label, texts in topics.items() for text in texts
    ]  # fmt: skip
    sides = {"train": made[:24], "heldout": made[24:36], "test": made[36:]}
    knobs = classification.Classification()
    found = classification.baseline(SimpleNamespace(rows=sides, params=knobs, seed=1))
    assert found["tfidf_logistic_regression"]["accuracy"]["mean"] == 1.0
    assert tfidf({"train": ["कि का"]})["train"].shape == (1, 3), "two words and their pair"
    assert overlap("长江流经", "黄河流经") == (2 / 6, 2 / 4, 1.0)
    assert jaccard(shingles("长江流经多个省份第一段"), shingles("长江流经多个省份第二段")) > 0.4
    row = {"question": "它流入哪里", "context": "长江很长。它流入东海。"}
    assert overlapping_sentence(row) == weighted_sentences([row], [row])[0] == "它流入东海。"
    assert lead("长江很长。它流入东海。", 1) == "长江很长。"
    assert translate("'我河'", dictionary(["我河", "我山"], ["I river", "I hill"])) == "'Iriver'"


def test_of_labels_that_are_equally_frequent_the_first_is_taken():
    assert most_frequent(np.array([2, 1, 1, 2]), 3).tolist() == [1, 1, 1]


def test_the_report_and_the_evaluation_show_the_model_beside_its_baselines(tmp_path):
    folder = tmp_path / "models" / "mood"
    folder.mkdir(parents=True)

    def figures(accuracy):
        mean = {"mean": accuracy, "standard_error": 0.1, "low": accuracy - 0.1, "high": accuracy + 0.1, "items": 4}
        return {"accuracy": mean, "macro_f1": {"value": accuracy, "low": 0.0, "high": 1.0}}

    metrics = {
        "method": "classification",
        "run": "mood",
        "adapter": "full",
        "parent": {"path": "data/models/base", "digest": "0123456789abcdef"},
        "training": {"steps": 4, "trained_parameters": 1, "parameters": 100},
        "before": figures(0.25),
        "after": figures(0.75),
        "baseline": {"most_frequent_label": figures(0.5), "tfidf_logistic_regression": figures(0.7)},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    blocks = leaves(finetuned(tmp_path))
    beside = next(block.content for block in blocks if block.kind == "table" and "model" in block.content[0])
    assert [row["model"] for row in beside] == [
        "most frequent label", "TF-IDF with logistic regression", "before finetuning", "after finetuning",
    ]  # fmt: skip
    assert beside[1]["accuracy"] == "0.7000 (0.6000 to 0.8000)"
    assert beside[3]["accuracy"] == "0.7500 (0.6500 to 0.8500)"
    tested = [{"id": str(at), "accuracy": float(at > 0)} for at in range(4)]
    summary = summarize_tested(folder, "accuracy", tested)
    assert summary["baselines"] == {"most_frequent_label": 0.5, "tfidf_logistic_regression": 0.7}
    written = measured_rows(
        SimpleNamespace(rows={"test": [{"id": str(at), "country": "ab"[at // 2]} for at in range(4)]}),
        "accuracy", {"accuracy": [1.0, 1.0, 0.0, 0.0]},
    )  # fmt: skip
    (folder / TESTED).write_text("".join(json.dumps(row) + "\n" for row in written))
    score, rows = read_tested(folder)
    assert (score, rows[3]) == ("accuracy", {"task": "accuracy", "id": "3", "accuracy": 0.0, "group": "b"})
    dependent, alone = (summarize_tested(folder, score, part) for part in (rows, [_without(row) for row in rows]))
    assert dependent["accuracy_stderr"] > 1.2 * alone["accuracy_stderr"], "two rows about each of two countries"
    worse = [row | {"accuracy": 0.0} for row in rows]
    found = difference({"accuracy": worse}, {"accuracy": rows}, "accuracy", Gate(), seed=1)
    assert (found.items, found.groups) == (4, 2)


def test_every_interval_of_a_method_is_over_groups_of_rows():
    """24 rows in 6 groups of one outcome each are 6 outcomes. No method computes an interval without groups."""
    groups = [str(at // 4) for at in range(24)]
    right = [float(at // 4 % 2) for at in range(24)]
    alone, together = mean_and_error(right), mean_and_error(right, groups)
    assert together["mean"] == alone["mean"] == 0.5 and together["standard_error"] > 2 * alone["standard_error"]
    truth, decided = np.array([at // 12 for at in range(24)]), np.array([at // 4 % 2 for at in range(24)])
    for name in ("accuracy", "macro_f1"):
        widths = [
            found["high"] - found["low"]
            for found in (label_figures(truth, decided, 1, of)[name] for of in (None, groups))
        ]
        assert widths[1] > 1.5 * widths[0], name
    tags = [["B-X"] if at < 12 else ["O"] for at in range(24)], [["B-X"] if at // 4 % 2 else ["O"] for at in range(24)]
    widths = [one["high"] - one["low"] for one in (entity_figures(*tags, 1, of)["f1"] for of in (None, groups))]
    assert widths[1] > 1.5 * widths[0]
    assert label_figures(truth, decided, 1, ["one"] * 24)["macro_f1"]["low"] is None, "one group has no interval"
    rise = paired([0.0] * 24, [0.0] * 4 + [1.0] * 20, groups)
    assert (rise["p_value"], rise["items"]) == (sign_test(5, 0), 24), "five of six groups rise"
    needed = {"mean_and_error": 2, "paired": 3, "label_figures": 4, "bootstrapped": 5, "entity_figures": 4}
    rooms = Path(stage.__file__).parent
    for file in [*rooms.glob("methods/*.py"), rooms / "preferences.py", rooms / "sequence_to_sequence.py"]:
        for call in ast.walk(ast.parse(file.read_text())):
            name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
            if name in needed and (file.name, len(call.args)) != ("instruction.py", 1):  # a collator of TRL is `paired`
                assert len(call.args) >= needed[name], f"{file.name}:{call.lineno}: {name} without groups"


def _without(row):
    return {key: value for key, value in row.items() if key != "group"}
