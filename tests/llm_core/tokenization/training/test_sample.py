"""The sample: shares by hand, and the same documents however the files are cut."""

from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.tokenization.training.sample import draw, shares, weigh
from tests.llm_core.tokenization.conftest import write

SIZES = {"a": 100, "b": 300}


def test_all_is_taken_when_it_fits() -> None:
    assert shares(SIZES, 400, {}) == {"a": 1, "b": 1}


def test_shares_follow_bytes_or_weights() -> None:
    assert shares(SIZES, 40, {}) == {"a": 0.1, "b": 0.1}
    assert shares(SIZES, 80, {"a": 1, "b": 1}) == {"a": 0.4, "b": 0.13}
    assert shares(SIZES, 80, {"a": 0, "b": 1}) == {"a": 0, "b": 0.26}


def test_what_a_source_cannot_fill_goes_to_the_others() -> None:
    assert shares(SIZES, 300, {"a": 1, "b": 1}) == {"a": 1, "b": 0.66}


def test_a_document_less_moves_no_share() -> None:
    assert shares({"a": 33_000_000, "b": 10_000}, 2_000_000, {}) == shares(
        {"a": 32_990_000, "b": 10_000}, 2_000_000, {}
    )


def test_a_weight_of_no_source_is_an_error() -> None:
    with pytest.raises(UserError, match=r"tokenizer\.weights: no such name: c"):
        shares(SIZES, 80, {"c": 1})


def test_documents_are_drawn_by_id(tmp_path: Path) -> None:
    texts = {"a": [f"text {i} of a" for i in range(300)], "b": [f"text {i} of b" for i in range(300)]}
    whole = write(tmp_path / "whole", texts)
    parts = [write(tmp_path / source, {source: part}) for source, part in texts.items()]
    assert weigh([whole]) == weigh(parts)
    drawn = {"a": 0.5, "b": 0.1}

    def picked(paths: list[Path], seed: int) -> list[str]:
        batches = draw(read_documents(paths, ["id", "source", "text"]), drawn, seed)
        return [text for batch in batches for text in batch.column("text").to_pylist()]

    counts = {source: sum(text.endswith(source) for text in picked([whole], 1)) for source in "ab"}
    assert 120 < counts["a"] < 180 and 15 < counts["b"] < 48
    assert sorted(picked([whole], 1)) != sorted(picked([whole], 2))
    assert sorted(picked([whole], 1)) == sorted(picked(parts, 1))
