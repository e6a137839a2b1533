"""A quality rule is one file that describes itself, found by a registry; recipes judge documents in their language."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llm_core.corpus.cleaning.batch import Batch
from llm_core.corpus.cleaning.stage import clean
from llm_core.corpus.cleaning.steps import build_step
from llm_core.params import Params
from llm_core.params.cleaning import Cleaning
from llm_core.params.plugins import discover
from llm_core.params.quality import built_in, rules, threshold

TOY = '''
from typing import ClassVar, Literal

from llm_core.params.quality import Rule


class Exclaiming(Rule):
    """Drops documents that shout."""

    THRESHOLDS: ClassVar[dict[str, str]] = {"shouting": "max_marks"}

    rule: Literal["exclaiming"] = "exclaiming"
    language: str | None = None
    max_marks: int = 3
    """Maximum number of exclamation marks."""

    def verdict(self, text):
        marks = text.count("!")
        return ("shouting", marks) if marks > self.max_marks else (None, float("nan"))
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A distribution outside the package with one rule: one file, and its entry point."""
    site = tmp_path / "site"
    info = site / "toy_rules-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toy_rules.py").write_text(TOY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-rules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[llm_core.quality_rules]\nexclaiming = toy_rules:Exclaiming\n")
    monkeypatch.syspath_prepend(site)
    caches = (discover, built_in)
    for cache in caches:
        cache.cache_clear()
    yield
    sys.modules.pop("toy_rules", None)
    for cache in caches:
        cache.cache_clear()


def test_a_rule_from_outside_is_one_file(toy: None, tmp_path: Path) -> None:
    texts = {"calm": "A calm text.", "loud": "What! A! Loud! Text! Indeed!"}
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    params = Params.model_validate(
        {"cleaning": {"steps": ["quiet"], "recipes": {"quiet": [{"rule": "exclaiming", "max_marks": 4}]}}}
    )
    metrics = clean([str(source)], tmp_path / "out", params.cleaning)
    assert metrics["documents_kept"] == 1
    rows = {row["id"]: row for row in pq.read_table(next((tmp_path / "out/ledger").glob("*.parquet"))).to_pylist()}
    assert (rows["loud"]["reason"], rows["loud"]["score"]) == ("shouting", 5)
    assert threshold("shouting", params.cleaning.recipes["quiet"]) == 4  # what `trace` shows beside the score
    assert clean([str(source)], tmp_path / "by-name", Cleaning(steps=["exclaiming"]))["documents_kept"] == 1


def test_a_rule_that_is_not_there_is_refused_with_the_names() -> None:
    with pytest.raises(ValueError, match="c4, fineweb_quality, gopher_quality"):
        Cleaning.model_validate({"recipes": {"x": [{"rule": "gopher"}]}})
    with pytest.raises(ValueError, match=r"c4: min_words: Extra inputs .*its params: .*min_words_per_line"):
        Cleaning.model_validate({"recipes": {"x": [{"rule": "c4", "min_words": 1}]}})


def test_every_rule_describes_itself() -> None:
    for name, rule in rules().items():
        assert rule(rule=name).rule == name and rule.__doc__
        assert all(field.description for key, field in rule.model_fields.items() if key != "rule")
        assert set(rule.THRESHOLDS.values()) <= set(rule.model_fields)
    dumped = Cleaning(recipes={"x": built_in()["fineweb"]}).model_dump()
    assert Cleaning.model_validate(dumped).recipes["x"] == built_in()["fineweb"]
    assert dumped["recipes"]["x"][1]["min_doc_words"] == 50


CHINESE = "小镇附近的河流与山丘，渔民在那里生活了几个世纪。" * 20
FRENCH = "Le fleuve passe devant la ville, et les gens y vivent depuis des siècles. " * 20


def judged(texts: list[str], languages: list[str | None], **params: object) -> Batch:
    rows = len(texts)
    batch = Batch(
        [str(row) for row in range(rows)], ["web"] * rows, [None] * rows, texts, languages, [None] * rows,
        [None] * rows, [None] * rows,
    )  # fmt: skip
    build_step("gopher_quality", Cleaning.model_validate(params))(batch)
    return batch


def test_english_rules_leave_other_languages_alone() -> None:
    texts, languages = [CHINESE, FRENCH, "Too short.", "Too short."], [None, "fr", "en-US", None]
    passed = judged(texts, languages)
    assert passed.reasons == {2: "gopher_short_doc", 3: "gopher_short_doc"}
    assert passed.tallies["web", "gopher_quality_other_language"] == 2
    dropped = judged(texts, languages, other_languages="drop")
    assert [dropped.reasons[row] for row in range(2)] == ["other_language"] * 2
    assert judged(texts, languages, other_languages="judge").reasons[0] == "gopher_short_doc"  # one word


def test_a_rule_for_french_judges_french() -> None:
    rule = {"rule": "gopher_quality", "language": "fra_Latn", "stop_words": ["le", "la", "et", "les"]}
    batch = Batch(["1", "2"], ["web"] * 2, [None] * 2, [FRENCH, "Court."], ["fr", "fr"], *[[None] * 2] * 3)
    build_step("x", Cleaning.model_validate({"recipes": {"x": [rule]}}))(batch)
    assert batch.reasons == {1: "gopher_short_doc"}
