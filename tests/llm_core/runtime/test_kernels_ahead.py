"""The verbs whose kernels `make install` compiles run over the made documents, and one that fails says why."""

import pytest

from llm_core.runtime import kernels_ahead


@pytest.mark.slow
def test_verbs_run_over_made_documents() -> None:
    kernels_ahead.main()


def test_verb_that_fails_is_named_with_what_it_printed(tmp_path) -> None:
    (said,) = kernels_ahead.run(("dedup --in nowhere --out dedup", "split --in dedup --out split"), tmp_path)
    assert said.startswith("llm-core dedup --in nowhere --out dedup") and "nowhere" in said.splitlines()[-1]
