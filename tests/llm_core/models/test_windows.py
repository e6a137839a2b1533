import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.models.windows import windows


@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_windows_score_each_token_once(length: int, context: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, context))
    found = list(windows(length, context, stride))
    assert [place + 1 for _, end, scored in found for place in range(scored, end)] == list(range(1, length))
    assert all(begin <= scored and end - begin <= context for begin, end, scored in found)


def test_a_stride_beyond_the_context_would_skip_tokens() -> None:
    with pytest.raises(ValueError, match="stride 5"):
        list(windows(9, 4, 5))
