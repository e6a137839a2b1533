import pytest

from llm_core.evaluation.language_modelling import windows


@pytest.mark.parametrize(("length", "context", "stride"), [(1, 4, 4), (2, 4, 4), (9, 4, 4), (9, 4, 1), (100, 16, 5)])
def test_windows_score_each_token_once(length: int, context: int, stride: int) -> None:
    targets = [place + 1 for _, end, scored in windows(length, context, stride) for place in range(scored, end)]
    assert targets == list(range(1, length))
    assert all(end - begin <= context for begin, end, _ in windows(length, context, stride))
