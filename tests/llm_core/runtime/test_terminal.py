import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from llm_core.runtime.terminal import printable


@given(st.text())
def test_no_command_reaches_the_terminal(text: str) -> None:
    shown = printable(text)
    assert all(unicodedata.category(one) != "Cc" or one in "\t\n" for one in shown)
    assert len(printable(text, lines=False).splitlines()) <= 1 or "\u2028" in text or "\u2029" in text


def test_text_of_every_script_stays_as_it_is() -> None:
    text = "Grüße, नमस्ते, ‌می‌خواهم, 中文 👩‍👩‍👧\n\tnext"
    assert printable(text) == text
    assert printable("\x1b]0;title\x07a\x9b31m\u202eb\r") == "\\x1b]0;title\\x07a\\x9b31m\\u202eb\\x0d"
