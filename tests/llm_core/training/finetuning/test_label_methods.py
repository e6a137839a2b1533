"""Labels, scores, pairs and choices: figures against scikit-learn and scipy, rows, encoded pairs, use of the result."""

import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, mean_absolute_error, mean_squared_error

from llm_core.cli import main
from llm_core.errors import UserError
from llm_core.evaluation.own import read_questions
from llm_core.params.evaluation import OwnBenchmark
from llm_core.params.finetuning import Data
from llm_core.runtime import json_lines
from llm_core.runtime.shares import wilson
from llm_core.training.finetuning import baselines
from llm_core.training.finetuning.calibration import f1_of_labels, fit_threshold
from llm_core.training.finetuning.conversation import encode_pair
from llm_core.training.finetuning.data.dataset import convert
from llm_core.training.finetuning.methods import multi_label, multiple_choice, regression, sentence_pairs
from llm_core.training.finetuning.registry import methods
from llm_core.training.finetuning.use import Classifier
from tests.llm_core.training.finetuning import tiny

SIDES = ("train", "heldout", "test")


def test_figures_of_several_labels_are_scikit_learns():
    generator = np.random.default_rng(1)
    truth, decided = generator.random((2, 50, 6)) < 0.3
    truth[:, 5] = decided[:, 5] = False  # a label that no row has
    truth[0] = decided[0] = False  # a row without a label
    found = multi_label.figures_of(truth, decided, 1)
    for average in ("micro", "macro"):
        wanted = f1_score(truth, decided, average=average, zero_division=0)
        assert found[f"{average}_f1"]["value"] == pytest.approx(wanted, abs=1e-15)
        assert found[f"{average}_f1"]["low"] < wanted < found[f"{average}_f1"]["high"]
    by_row = f1_score(truth, decided, average="samples", zero_division=1)
    assert found["row_f1"]["mean"] == pytest.approx(by_row, abs=1e-15)
    assert found["exact_match"]["mean"] == accuracy_score(truth, decided)


def test_the_threshold_is_the_best_of_the_held_out_rows():
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool)
    odds = np.where(truth, 0.4, 0.1)
    assert 0.1 < fit_threshold(odds, truth) <= 0.4
    assert f1_of_labels(truth, odds >= fit_threshold(odds, truth)) == (1.0, 1.0)
    assert fit_threshold(np.where(truth, 0.9, 0.1), truth) == 0.5  # of equal ones the middle


def test_figures_of_scores_are_scikit_learns_and_scipys():
    generator = np.random.default_rng(2)
    truth = generator.normal(3, 1, 80)
    found = truth + generator.normal(0, 0.5, 80)
    figures = regression.figures_of(truth, found, 1)
    assert figures["mean_squared_error"]["mean"] == pytest.approx(mean_squared_error(truth, found))
    assert figures["mean_absolute_error"]["mean"] == pytest.approx(mean_absolute_error(truth, found))
    assert figures["negative_absolute_error"]["mean"] == pytest.approx(-mean_absolute_error(truth, found))
    for name, measured in (("pearson", pearsonr), ("spearman", spearmanr)):
        assert figures[name]["value"] == pytest.approx(float(measured(truth, found).statistic))
        assert figures[name]["low"] < figures[name]["value"] < figures[name]["high"]
    constant = regression.figures_of(truth, np.full(80, 3.0), 1)  # has no correlation
    assert constant["pearson"] == {"value": None, "low": None, "high": None}


def test_the_kappa_of_ordered_classes_is_scikit_learns():
    generator = np.random.default_rng(3)
    truth = generator.integers(1, 6, 60).astype(float)
    found = truth + generator.normal(0, 1.2, 60)
    rounded = np.clip(np.rint(found), 1, 5)
    wanted = cohen_kappa_score(truth, rounded, weights="quadratic")
    assert regression.figures_of(truth, found, 1, (1, 5))["weighted_kappa"]["value"] == pytest.approx(wanted)
    assert regression.figures_of(truth, np.full(60, 3.2), 1, (1, 5))["weighted_kappa"]["value"] == pytest.approx(0)
    rows = [{"score": float(score)} for score in truth]
    assert regression.classes(job({"train": rows})) == (1, 5)
    assert regression.classes(job({"train": [*rows, {"score": 2.5}]})) is None


def test_a_kappa_of_many_rows_needs_memory_for_the_rows_alone():
    truth = np.arange(5000) % 5
    tracemalloc.start()
    regression.weighted_kappa(truth, truth[::-1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6
    large = np.array([1, 2, 3, 3]) + 1_700_000_000
    assert regression.weighted_kappa(large, large[::-1].copy()) == pytest.approx(
        cohen_kappa_score([1, 2, 3, 3], [3, 3, 2, 1], weights="quadratic")
    )


def test_correlations_that_resampling_cannot_vary_are_not_certain():
    """Those of two rows are 1 or -1 in each sample in which they are defined."""
    for found, (low, high) in (([1.0, 2.0], wilson(2, 2)), ([2.0, 1.0], (-1.0, -wilson(2, 2)[0]))):
        figures = regression.figures_of(np.array([1.0, 2.0]), np.array(found), 1)
        for name in ("pearson", "spearman"):
            assert (figures[name]["low"], figures[name]["high"]) == pytest.approx((low, high)), name
    rounded = regression.figures_of(np.array([0.1, 0.2, 0.3, 0.7]), np.array([0.3, 0.5, 0.7, 1.5]), 1)["pearson"]
    assert rounded["value"] == pytest.approx(1) and rounded["low"] < 0.6, "equal but for rounding"


def test_a_pair_is_encoded_as_bert_and_t5_encode_it():
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"]
    bert = transformers.BertTokenizer(vocab={word: at for at, word in enumerate(words)})
    for one, other, limit in (("a b c", "d e", 32), ("a b c d e f g h", "i j", 9), ("a b c d e f", "g h i j a b", 10)):
        wanted = bert(one, other, truncation="longest_first", max_length=limit)
        ids, first, cut = encode_pair(bert, one, other, limit, ends=False)
        assert ids == wanted["input_ids"]
        assert [0] * first + [1] * (len(ids) - first) == wanted["token_type_ids"]
        assert cut == (limit < 32)
    plain = tiny.tokenizer()  # puts nothing between: its end token separates, and T5's head finds its place by the last
    ids, first, _ = encode_pair(plain, "spam", "ham", 32, ends=True)
    assert ids == [*plain("spam")["input_ids"], plain.eos_token_id, *plain("ham")["input_ids"], plain.eos_token_id]
    assert first == len(plain("spam")["input_ids"]) + 1


QUESTION = {"question": "Which is red?"}
CHOICE = {"question": "Which is red?", "choices": ["sky", "rose"], "answer": 1}


@pytest.mark.parametrize(
    ("raw", "row"),
    [
        (QUESTION | {"choices": ["sky", "rose"], "answer": 1}, CHOICE),
        (QUESTION | {"choices": ["sky", "rose"], "answer": "B"}, CHOICE),
        (QUESTION | {"choices": ["sky", "rose"], "answer": "rose"}, CHOICE),
        (QUESTION | {"choices": {"text": ["sky", "rose"], "label": ["1", "2"]}, "answerKey": "2"}, CHOICE),
        (QUESTION | {"choice1": "sky", "choice2": "rose", "label": 1}, CHOICE),
        (
            {"premise": "It rained.", "question": "effect", "choice1": "sun", "choice2": "mud", "label": 1, "idx": 3},
            {"question": "It rained. What happened as a result?", "choices": ["sun", "mud"], "answer": 1},
        ),
    ],
)
def test_questions_with_choices_are_read_in_the_layouts_of_the_data_sets(raw, row):
    assert settled([raw]) == [row]


def settled(raws):
    """Raw rows of one data set as rows of multiple choice."""
    rows = [convert("multiple_choice", raw, Data()) for raw in raws]
    multiple_choice.settle_answers({"train": rows})
    return rows


def test_choices_that_are_numbers_have_one_reading_in_the_whole_data_set(tmp_path):
    table = {"question": ["1 and 1?", "2 and 0?", "Red?"], "choices": ['["1", "2"]', '["2", "0", "1"]', '["a", "b"]']}
    for answers, wanted in ((["1", "0", "1"], [1, 0, 1]), (["2", "2", "b"], [1, 0, 1]), (["B", "A", "b"], [1, 0, 1])):
        raws = [dict(zip([*table, "answer"], row, strict=True)) for row in zip(*table.values(), answers, strict=True)]
        assert [row["answer"] for row in settled(raws)] == wanted, answers
        file = tmp_path / "own.jsonl"  # a benchmark of one's own reads them alike
        json_lines.write_rows(file, raws)
        own = OwnBenchmark(path=str(file), kind="multiple_choice")
        assert [item["answer"] for item in read_questions("own", own)] == wanted, answers
    by_position = raws[0] | {"answer": 0}
    by_text = raws[2] | {"choices": ["sky", "sea"], "answer": "sky"}
    with pytest.raises(UserError, match=r"'Red\?' is a choice's text, most rows have a position from 0"):
        settled([by_position, by_position, by_text])


def test_wrong_answers_beside_the_right_one_are_put_in_an_order_of_their_own():
    raw = QUESTION | {"correct_answer": "rose", "distractor1": "sky", "distractor2": "sea", "support": "Roses are red."}
    (row,) = settled([raw])
    assert row["question"] == "Roses are red.\nWhich is red?"
    assert row["choices"][row["answer"]] == "rose"
    assert sorted(row["choices"]) == ["rose", "sea", "sky"]
    places = {settled([raw | {"question": f"Which {at}?"}])[0]["answer"] for at in range(20)}
    assert places == {0, 1, 2}


@pytest.mark.parametrize(
    ("method", "raw", "why"),
    [
        ("multiple_choice", QUESTION | {"choices": ["sky", "rose"], "answer": 2}, "'answer' is 2; give the right one"),
        ("multiple_choice", QUESTION | {"choices": ["sky", "sky"], "answer": 1}, "'sky' is there twice"),
        ("multiple_choice", QUESTION | {"choices": ["sky"], "answer": 0}, r"1 choice\(s\)"),
        ("multi_label", {"text": "a", "labels": 3}, "'labels' is no list of labels but int"),
        ("multi_label", {"text": "a", "labels": ["x", None]}, "'labels' is missing or empty"),
        ("regression", {"text": "a", "score": "many"}, "'score' is 'many', which is no finite number"),
        ("regression", {"text": "a", "score": float("inf")}, "no finite number"),
        ("sentence_pairs", {"sentence1": "a", "sentence2": " ", "label": 1}, "'sentence2' is missing or empty"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_by_its_field(method, raw, why):
    with pytest.raises(ValueError, match=why):
        convert(method, raw, Data())


def test_rows_of_labels_scores_and_pairs_are_read():
    assert convert("multi_label", {"text": "a", "tags": "x; y;x"}, Data()) == {"text": "a", "labels": ["x", "y"]}
    assert convert("multi_label", {"text": "a", "labels": []}, Data()) == {"text": "a", "labels": []}
    parted = convert("multi_label", {"text": "a", "labels": "x|y"}, Data(label_separator="|"))
    assert parted == {"text": "a", "labels": ["x", "y"]}
    assert convert("regression", {"review": "a", "stars": "4"}, Data()) == {"text": "a", "score": 4.0}
    pair = {"premise": "a", "hypothesis": "b"}
    assert convert("regression", pair | {"score": 1}, Data()) == {"text": "a", "text_pair": "b", "score": 1.0}
    named = convert("sentence_pairs", pair | {"gold_label": "neutral"}, Data())
    assert named == {"text": "a", "text_pair": "b", "label": "neutral"}


def test_scores_of_choices_are_compared_within_their_question():
    values = torch.tensor([1.0, 2.0, 5.0, 4.0, 3.0])
    padded = multiple_choice.by_question(values, [2, 3])
    assert padded.tolist() == [[1.0, 2.0, float("-inf")], [5.0, 4.0, 3.0]]
    loss = torch.nn.functional.cross_entropy(padded, torch.tensor([1, 0]))
    first, second = np.log(1 + np.exp(-1)), np.log(1 + np.exp(-1) + np.exp(-2))
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-6)


def job(rows, **knobs):
    return SimpleNamespace(rows=rows, seed=1, method="m", params=SimpleNamespace(**knobs))


WORDS = ["red", "blue", "green", "pink", "grey", "teal"]


def pairs(count, shift):
    """Two words, and either the same two or two others."""
    made = []
    for at in range(count):
        same = (at + shift) % 2
        one, two, three, four = (WORDS[(at * 7 + shift + step) % 6] for step in (0, 1, 3, 4))
        other = f"{two} {one}" if same else f"{three} {four}"
        made.append({"text": f"{one} {two}", "text_pair": other, "label": "same" if same else "other"})
    return made


def test_the_linear_baselines_learn_what_the_overlap_of_two_texts_tells():
    rows = dict(zip(SIDES, (pairs(60, 0), pairs(20, 3), pairs(30, 8)), strict=True))
    found = sentence_pairs.METHOD.baseline(job(rows, class_weights="balanced"))
    assert found["tfidf_logistic_regression"]["accuracy"]["mean"] > 0.9
    assert found["most_frequent_label"]["accuracy"]["mean"] == 0.5
    asked = {
        side: [
            {
                "question": f"what {row['text']} is",
                "choices": ["none here", row["text"]][:: 1 - 2 * (at % 2)],
                "answer": 1 - at % 2,
            }
            for at, row in enumerate(found)
        ]
        for side, found in rows.items()
    }
    chosen = multiple_choice.baseline(job(asked))
    assert chosen["tfidf_logistic_regression"]["accuracy"]["mean"] == 1
    assert chosen["most_frequent_position"]["accuracy"]["mean"] == 0.5


def test_the_linear_baselines_learn_what_words_tell():
    rows = {side: [{"text": f"{word} " * 3, "score": float(at)} for at, word in enumerate(WORDS)] for side in SIDES}
    scores = regression.baseline(job(rows))
    assert scores["tfidf_ridge_regression"]["spearman"]["value"] == pytest.approx(1)
    assert scores["training_mean"]["mean_absolute_error"]["mean"] == 1.5
    made = [{"text": word, "labels": ["warm"] if at in (0, 3) else []} for at, word in enumerate(WORDS)]
    tagged = {"train": [*made, {"text": "black", "labels": ["cold"]}], "heldout": made, "test": made}
    labels = multi_label.baseline(job(tagged))
    assert labels["tfidf_logistic_regression"]["micro_f1"]["value"] == 1
    assert labels["most_frequent_labels"]["exact_match"]["mean"] == pytest.approx(4 / 6)


def test_a_label_of_all_training_rows_or_of_none_has_these_odds():
    features = baselines.tfidf({side: ["a b", "c"] for side in SIDES})
    odds = baselines.label_odds(features, np.array([[True, False], [True, False]]))
    assert odds["test"].tolist() == [[1, 0], [1, 0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "family"),
    [
        ("multi_label", "bert"),
        ("regression", "gpt2"),
        ("sentence_pairs", "bert"),
        ("multiple_choice", "bert"),
        ("multiple_choice", "gpt2"),
    ],
)
def test_classify_says_of_a_test_row_what_was_measured(method, family, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)
    metrics = tiny.run(method, family, max_steps=20, learning_rate=0.003)
    assert json.loads(Path("out/config.json").read_text())["finetuned_for"] == method
    assert metrics["baseline"]
    tested = {row["id"]: row[methods()[method].score] for row in json_lines.load_rows(Path("out/test_items.jsonl"))}
    capsys.readouterr()
    labels: list[tuple[str, str]] = []
    for row in json_lines.load_rows(Path(f"rows-{method}/test.jsonl")):
        given = ["--text", row.get("text", row.get("question"))]
        given += ["--second", row["text_pair"]] if "text_pair" in row else []
        given += [word for choice in row.get("choices", []) for word in ("--choice", choice)]
        with pytest.raises(SystemExit, match="0"):
            main(["classify", "--model", "out", "--json", *given])
        said = json.loads(capsys.readouterr().out)
        if method == "multi_label":
            sets = ([label in chosen for label in said["probabilities"]] for chosen in (row["labels"], said["labels"]))
            score = multi_label.row_f1(*(np.array([one]) for one in sets))[0]
        elif method == "regression":
            score = -abs(said["score"] - row["score"])
        else:
            labels.append((row["choices"][row["answer"]] if "choices" in row else row["label"], said["label"]))
            score = float(labels[-1][0] == labels[-1][1])
        assert tested[row["id"]] == pytest.approx(score, abs=1e-4)
    if labels:
        truth, decided = zip(*labels, strict=True)
        assert metrics["after"]["accuracy"]["mean"] == pytest.approx(accuracy_score(truth, decided))
    if method == "sentence_pairs":
        assert metrics["after"]["macro_f1"]["value"] == pytest.approx(f1_score(truth, decided, average="macro"))
    wrong = {"multi_label": {"seconds": ["x"]}, "regression": {"choices": [["x", "y"]]}}.get(method, {})
    with pytest.raises(UserError, match=r"needs|reads one text"):
        Classifier(Path("out"))(["a text"], **wrong)
