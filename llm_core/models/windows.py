"""The strided window: how a text that is longer than the context is scored, every token exactly once.

Windows advance by `stride`; a window scores only the tokens that the window before it did not score (the strided
perplexity of Hugging Face's documentation). With `stride == context` each token is read once and the first tokens of a
window have little context; a smaller stride costs more and gives every scored token more context.
"""

from collections.abc import Iterator


def windows(length: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(first input, end of inputs, first input whose successor is scored) of a document of `length` tokens.

    Raises ValueError unless 1 <= stride <= context: a longer stride would skip tokens.

    >>> list(windows(6, 4, 2))  # inputs 0..4 predict tokens 1..5, each once
    [(0, 4, 0), (2, 5, 4)]
    """
    if not 0 < stride <= context:
        raise ValueError(f"stride {stride} must lie in 1 … {context}")
    last, scored = length - 1, 0
    for begin in range(0, max(last, 0), stride):
        end = min(begin + context, last)
        yield begin, end, scored
        scored = end
        if end == last:
            return
