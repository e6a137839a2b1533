"""Scores of files against the reference packages, on real pairs (two English Bibles)."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from llm_core.cli import score as verb
from llm_core.errors import UserError
from llm_core.evaluation.statistics import scored
from llm_core.evaluation.text_metrics import Kind, compare_systems, measure, read_labels, read_lines, resampled
from llm_core.params.evaluation import TextMetrics

# Genesis 1:1-8 and Psalm 23:1-4, 6: the World English Bible against the King James Version (both public domain).
WORLD_ENGLISH = [
    "In the beginning, God created the heavens and the earth.",
    "The earth was formless and empty. Darkness was on the surface of the deep and God’s Spirit was hovering over the surface of the waters.",  # noqa: E501
    "God said, “Let there be light,” and there was light.",
    "God saw the light, and saw that it was good. God divided the light from the darkness.",
    "God called the light “day”, and the darkness he called “night”. There was evening and there was morning, the first day.",  # noqa: E501
    "God said, “Let there be an expanse in the middle of the waters, and let it divide the waters from the waters.”",
    "Yahweh is my shepherd; I shall lack nothing.",
    "He makes me lie down in green pastures. He leads me beside still waters.",
    "He restores my soul. He guides me in the paths of righteousness for his name’s sake.",
    "Surely goodness and loving kindness shall follow me all the days of my life, and I will dwell in Yahweh’s house forever.",  # noqa: E501
]
KING_JAMES = [
    "In the beginning God created the heaven and the earth.",
    "And the earth was without form, and void; and darkness was upon the face of the deep. And the Spirit of God moved upon the face of the waters.",  # noqa: E501
    "And God said, Let there be light: and there was light.",
    "And God saw the light, that it was good: and God divided the light from the darkness.",
    "And God called the light Day, and the darkness he called Night. And the evening and the morning were the first day.",  # noqa: E501
    "And God said, Let there be a firmament in the midst of the waters, and let it divide the waters from the waters.",
    "The LORD is my shepherd; I shall not want.",
    "He maketh me to lie down in green pastures: he leadeth me beside the still waters.",
    "He restoreth my soul: he leadeth me in the paths of righteousness for his name's sake.",
    "Surely goodness and mercy shall follow me all the days of my life: and I will dwell in the house of the LORD for ever.",  # noqa: E501
]
UPPER = [text.upper() for text in WORLD_ENGLISH]


def test_bleu_and_chrf_are_sacrebleus_with_its_signature() -> None:
    import sacrebleu

    found = measure("translation", WORLD_ENGLISH, [KING_JAMES], TextMetrics())
    assert found["BLEU"].value == sacrebleu.corpus_bleu(WORLD_ENGLISH, [KING_JAMES]).score
    assert found["chrF"].value == sacrebleu.corpus_chrf(WORLD_ENGLISH, [KING_JAMES]).score
    assert found["BLEU"].signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert 20 < found["BLEU"].value < 60 < found["chrF"].value

    two = measure("translation", WORLD_ENGLISH, [KING_JAMES, UPPER], TextMetrics(lowercase=True, chrf_word_order=2))
    assert two["BLEU"].value == sacrebleu.corpus_bleu(WORLD_ENGLISH, [KING_JAMES, UPPER], lowercase=True).score
    wanted = sacrebleu.CHRF(word_order=2, lowercase=True).corpus_score(WORLD_ENGLISH, [KING_JAMES, UPPER]).score
    assert two["chrF++"].value == wanted
    assert two["BLEU"].signature.startswith("nrefs:2|case:lc")


def test_rouge_is_rouge_scores() -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.scoring import BootstrapAggregator

    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer, aggregator = RougeScorer(kinds, use_stemmer=True), BootstrapAggregator(n_samples=200)
    rows = [scorer.score(wanted, given) for given, wanted in zip(WORLD_ENGLISH, KING_JAMES, strict=True)]
    for row in rows:
        aggregator.add_scores(row)
    found = measure("summarization", WORLD_ENGLISH, [KING_JAMES], TextMetrics(rouge_stemmer=True))
    for kind in kinds:
        assert found[kind].value == pytest.approx(np.mean([row[kind].fmeasure for row in rows]), rel=1e-15)
        assert found[kind].value == pytest.approx(aggregator.aggregate()[kind].mid.fmeasure, abs=0.02)


def test_classification_is_scikit_learns() -> None:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    draw = random.Random(0)
    wanted = [draw.choice("abc") for _ in range(60)]
    given = [label if draw.random() < 0.6 else draw.choice("abcd") for label in wanted]
    found = measure("classification", given, [wanted], TextMetrics())
    assert found["accuracy"].value == accuracy_score(wanted, given)
    assert found["macro F1"].value == f1_score(wanted, given, average="macro", zero_division=0)
    assert found["Matthews correlation"].value == pytest.approx(matthews_corrcoef(wanted, given), rel=1e-12)


@pytest.mark.parametrize("kind", ["translation", "summarization", "classification"])
def test_every_metric_is_a_function_of_its_sums(kind: str) -> None:
    for name, found in measure(kind, WORLD_ENGLISH, [KING_JAMES], TextMetrics()).items():  # type: ignore[arg-type]
        assert found.score(found.statistics.sum(0)) == pytest.approx(found.value, rel=1e-12), name


def test_intervals_agree_with_sacrebleus_own_bootstrap() -> None:
    from sacrebleu.metrics import BLEU

    theirs = BLEU().corpus_score(WORLD_ENGLISH, [KING_JAMES], n_bootstrap=1000)
    drawn = resampled(measure("translation", WORLD_ENGLISH, [KING_JAMES], TextMetrics())["BLEU"], 1000, 1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (low + high) / 2 == pytest.approx(theirs._mean, abs=1.5)
    assert (high - low) / 2 == pytest.approx(theirs._ci, rel=0.15)


def test_systems_are_paired_with_the_first() -> None:
    worse = [text.replace("God", "Gold").replace("the ", "a ") for text in WORLD_ENGLISH]
    systems = {"good": WORLD_ENGLISH, "bad": worse, "same": WORLD_ENGLISH}
    found = compare_systems("translation", systems, [KING_JAMES], TextMetrics(), 0)
    bad, same = found["differences"]["bad"]["BLEU"], found["differences"]["same"]["BLEU"]
    assert bad["verdict"] == "worse" and bad["low"] < bad["difference"] < bad["high"] < 0
    assert same["difference"] == same["low"] == same["high"] == 0 and same["verdict"] == "not distinguishable"
    good = found["scores"]["good"]["BLEU"]
    assert good["low"] < good["value"] < good["high"]
    # paired: the interval of the difference is narrower than the two intervals side by side
    assert bad["detectable"] < found["scores"]["good"]["BLEU"]["detectable"]


def test_the_verb_reads_lines_and_jsonl_and_never_prints_a_bare_score(tmp_path: Path) -> None:
    (tmp_path / "ours.txt").write_text("".join(text + "\n" for text in WORLD_ENGLISH))
    rows = (json.dumps({"summary": text}) + "\n" for text in KING_JAMES)
    (tmp_path / "wanted.jsonl").write_text("".join(rows))
    out = tmp_path / "out"
    arguments = ["translation", "--given", str(tmp_path / "ours.txt"), "--reference", str(tmp_path / "wanted.jsonl")]
    done = CliRunner().invoke(verb.app, [*arguments, "--key", "summary", "--out", str(out)])
    assert done.exit_code == 0, done.output
    metrics = json.loads((out / "metrics.json").read_text())
    value = measure("translation", WORLD_ENGLISH, [KING_JAMES], TextMetrics())["BLEU"].value
    assert metrics["scores"]["ours"]["BLEU"]["value"] == value
    line = next(line for line in done.output.splitlines() if "BLEU" in line)
    assert f"{value:.4f} [" in line and "tok:13a" in line
    with pytest.raises(UserError, match=r"wanted.jsonl:1: needs a JSON object with the field 'text'"):
        read_lines(tmp_path / "wanted.jsonl")


def test_files_of_different_length_are_told() -> None:
    with pytest.raises(UserError, match="a has 10, reference 1 has 9"):
        compare_systems("translation", {"a": WORLD_ENGLISH}, [KING_JAMES[1:]], TextMetrics(), 0)


SCRIPTS = {
    "Japanese": ["今日はとても良い天気です", "私は学校に行きました"],
    "Chinese": ["今天天气很好", "我去学校了"],
    "Russian": ["сегодня очень хорошая погода", "я пошёл в школу утром"],
    "Hindi": ["आज मौसम बहुत अच्छा है", "मैं सुबह स्कूल गया"],
    "Thai": ["วันนี้อากาศดีมาก", "ฉันไปโรงเรียน"],
    "one word": ["да", "нет"],
    "emoji": ["🙂", "🙃 🙂"],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_identical_texts_score_full_marks_in_every_script(script: str) -> None:
    texts = SCRIPTS[script]
    for kind in ("translation", "summarization"):
        found = compare_systems(kind, {"same": texts}, [texts], TextMetrics(resamples=100), 0)
        for metric, score in found["scores"]["same"].items():
            if metric == "rouge2" and script in ("one word", "emoji"):
                continue  # a single word has no bigram
            top = 100 if kind == "translation" else 1
            assert score["value"] == pytest.approx(top), metric
            assert score["high"] == pytest.approx(top) and score["low"] < 0.5 * top, "two items prove little"
            assert score["stderr"] > 0
    other = compare_systems("summarization", {"other": texts[::-1]}, [texts], TextMetrics(resamples=100), 0)
    assert other["scores"]["other"]["rouge1"]["value"] < 0.9


def test_systems_have_bleu_of_the_same_ngrams() -> None:
    """A system of short texts had BLEU of its longest n-grams, which is another measure than that of the others."""
    references = ["the cat sat on the mat"] * 2
    found = compare_systems(
        "translation", {"long": ["the cat sat on a mat"] * 2, "short": ["the cat"] * 2}, [references],
        TextMetrics(resamples=100), 0,
    )["scores"]  # fmt: skip
    assert found["short"]["BLEU"]["value"] == 0 < found["long"]["BLEU"]["value"]
    assert found["short"]["BLEU"]["signature"] == found["long"]["BLEU"]["signature"]


def test_the_signature_names_the_words_that_were_counted() -> None:
    def signature(script: str, kind: str, metric: str) -> str:
        texts = SCRIPTS[script]
        return measure(kind, texts, [texts], TextMetrics())[metric].signature

    assert "tok:char" in signature("Japanese", "translation", "BLEU")
    assert "tok:zh" in signature("Chinese", "translation", "BLEU")
    assert "tok:13a" in signature("Russian", "translation", "BLEU")
    assert "tok:words" in signature("Russian", "summarization", "rouge1")
    assert "tok:rouge-score" in measure("summarization", KING_JAMES, [KING_JAMES], TextMetrics())["rouge1"].signature


def test_a_label_has_one_spelling(tmp_path: Path) -> None:
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfa \r\n1.0\r\n-2\r\n")
    (tmp_path / "plain").write_text("a\n1\n-2.00\n")
    assert read_labels(tmp_path / "marked") == read_labels(tmp_path / "plain") == ["a", "1", "-2"]
    (tmp_path / "rows.jsonl").write_text('{"text": 1.0}\n{"text": 1}\n')
    assert read_labels(tmp_path / "rows.jsonl") == ["1", "1"]
    for bad in ("null", "[1]", "NaN"):
        (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": ' + bad + "}\n")
        with pytest.raises(UserError, match=r"bad\.jsonl:2"):
            read_labels(tmp_path / "bad.jsonl")
    (tmp_path / "gap").write_text("a\n\nb\n")
    with pytest.raises(UserError, match="gap:2: an empty label"):
        read_labels(tmp_path / "gap")


def test_nothing_right_and_all_right_have_an_interval() -> None:
    labels, wrong = ["a", "b"] * 10, ["b", "a"] * 10
    found = compare_systems(
        "classification", {"right": labels, "wrong": wrong}, [labels], TextMetrics(resamples=100), 0
    )
    right, none = (found["scores"][name]["accuracy"] for name in ("right", "wrong"))
    assert (none["low"], right["high"]) == (0.0, 1.0)
    assert none["high"] == pytest.approx(1 - right["low"]) and none["high"] > 0.1
    difference = found["differences"]["wrong"]["accuracy"]
    assert difference["verdict"] == "worse" and difference["detectable"] > 0
    same = compare_systems("classification", {"one": labels, "two": labels}, [labels], TextMetrics(resamples=100), 0)
    assert same["differences"]["two"]["accuracy"]["detectable"] > 0.05


def test_of_one_group_nothing_is_known_about_others() -> None:
    """As for the means of the same rows (`statistics.scored`); with two groups all have an interval."""
    labels = ["a", "b"] * 5
    cases: list[tuple[Kind, list[str], list[str]]] = [
        ("translation", WORLD_ENGLISH, KING_JAMES), ("classification", ["a"] * 10, labels)
    ]  # fmt: skip
    for kind, texts, wanted in cases:
        systems = {"one": texts, "right": wanted}
        for groups, known in ((["x"] * 10, False), (["x", "y"] * 5, True)):
            found = compare_systems(kind, systems, [wanted], TextMetrics(resamples=100), 0, groups)
            for score in (*found["scores"]["one"].values(), *found["scores"]["right"].values()):
                assert all((score[key] is not None) == known for key in ("low", "high", "stderr", "detectable"))
            for change in found["differences"]["right"].values():
                assert all((change[key] is not None) == known for key in ("low", "high", "detectable"))
                assert known or change["verdict"] == "not distinguishable"
            assert math.isfinite(scored([1.0, 0.0] * 5, "acc", groups)["acc_low"]) == known
            assert math.isfinite(scored([0.5, 0.1] * 5, "f1", groups)["f1_low"]) == known
