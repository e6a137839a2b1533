"""Where text is cut before BPE: no token crosses a cut.

GPT-4's pattern (tiktoken `cl100k_base`): contractions, words with one leading space or
sign, short runs of digits, runs of signs, line ends, runs of spaces. Two policies vary it.
"""

from llm_core.params.tokenizer import Tokenizer


def policies(expression: str) -> tuple[int, bool]:
    """The policies `digits` and `whitespace == "runs"` that made a pattern. Raises ValueError for a pattern of another
    tokenizer."""
    for digits in (1, 2, 3):
        for whitespace in ("runs", "single"):
            if expression == pattern(Tokenizer.model_validate({"digits": digits, "whitespace": whitespace})):
                return digits, whitespace == "runs"
    raise ValueError(f"unknown pre-tokenizer pattern {expression}")


def pattern(params: Tokenizer) -> str:
    """The pre-tokenizer's regular expression, in the syntax that Oniguruma, fancy-regex and `regex` share."""
    spaces = r"\s*[\r\n]|\s+(?!\S)|\s+" if params.whitespace == "runs" else r"\s"
    return (
        r"'(?i:[sdmt]|ll|ve|re)"
        r"|[^\r\n\p{L}\p{N}]?+\p{L}+"
        rf"|\p{{N}}{{1,{params.digits}}}"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*"
        rf"|{spaces}"
    )
