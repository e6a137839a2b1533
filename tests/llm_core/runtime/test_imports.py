"""Packages that are hidden from an import, and only from it."""

import subprocess
import sys

import pytest

from llm_core.runtime.imports import without


def test_a_hidden_package_cannot_be_imported_in_the_block_alone() -> None:
    sys.modules.pop("this", None)
    with without("this"), pytest.raises(ImportError):
        import this  # noqa: F401
    assert "this" not in sys.modules


def test_an_imported_package_stays() -> None:
    with without("json"):
        import json
    assert sys.modules["json"] is json


def test_words_are_split_without_torch() -> None:
    script = (
        "import sys; from llm_core.corpus.cleaning.token_memo import Words; Words(); "
        "assert 'torch' not in sys.modules; import torch"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
