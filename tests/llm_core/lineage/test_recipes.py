"""Whether a document would pass another recipe: the verdict is cleaning's own, the threshold the recipe's."""

import pytest

from llm_core.errors import UserError
from llm_core.lineage.index import open_index
from llm_core.lineage.journey import journey
from llm_core.lineage.recipes import decision_threshold
from llm_core.params import Params
from llm_core.params.quality import built_in, threshold
from tests.llm_core.lineage.conftest import IDS
from tests.llm_core.lineage.test_journey import main_exit

GENTLE = {"recipes": {"gentle": [{"rule": "gopher_quality", "min_doc_words": 10, "min_stop_words": 1}]}}


def test_ten_words_pass_the_gentle_recipe_and_not_gophers(project):
    params = Params.model_validate({"cleaning": GENTLE})
    found = journey(open_index(project / "data"), IDS[7], project / "data", params, ["gentle", "gopher_quality"])
    gentle, gopher = found.recipes
    assert (gentle["verdict"], gentle["reason"]) == ("kept", None)
    assert (gopher["verdict"], gopher["reason"]) == ("dropped", "gopher_short_doc")
    assert (gopher["score"], gopher["threshold"]) == (10, 50)  # The treaty of article 7 was signed by both parties
    told = "\n".join(found.lines())
    assert "gentle would keep it" in told
    assert "gopher_quality would drop it: gopher_short_doc (score 10, threshold 50)" in told


def test_a_spared_source_is_judged_and_it_is_said(project):
    params = Params.model_validate({"cleaning": {"exempt": ["web"]}})
    found = journey(open_index(project / "data"), IDS[7], project / "data", params, ["gopher_quality"])
    assert found.recipes[0]["verdict"] == "dropped"
    assert "web is exempt" in "\n".join(found.lines())


def test_a_dropped_document_is_judged_by_its_raw_text(project, capsys):
    assert main_exit(["trace", "--id", IDS[39], "--recipe", "c4"]) == 0
    assert "c4 would drop it: too_few_sentences (score 0, threshold 5)" in capsys.readouterr().out
    assert main_exit(["trace", "--id", IDS[39], "--recipe", "unheard"]) == 1
    assert "there is no such recipe" in capsys.readouterr().err


def test_thresholds_by_the_ledgers_reasons():
    fineweb = built_in()["fineweb"]
    assert threshold("top_3_gram", fineweb) == 0.18
    assert threshold("duplicated_10_n_grams", fineweb) == 0.10
    assert threshold("short_line_ratio", fineweb) == 0.67
    assert threshold("curly_bracket", fineweb) is None
    params = Params.model_validate({"deduplication": {"threshold": 0.75}, "cleaning": {"min_characters": 40}})
    row = {"stage": "dedup", "verdict": "dropped", "reason": "near_duplicate"}
    assert decision_threshold(row, params) == 0.75
    assert decision_threshold({"stage": "clean", "verdict": "dropped", "reason": "too_short"}, params) == 40


def test_the_raw_text_must_still_be_there(project):
    index = open_index(project / "data")
    for file in (project / "data/raw/web/documents").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="its text is no longer below"):
        journey(index, IDS[7], project / "data", Params(), ["c4"])
