"""The order of strings in compiled code."""

from llm_core.kernels.arrays import Bytes, Ints
from llm_core.runtime.compilation import njit


@njit(nogil=True)
def string_before(starts: Ints, data: Bytes, one: int, other: int) -> bool:
    """Whether string `one` sorts before string `other`, by code points.

    String i is `data[starts[i]:starts[i + 1]]` in UTF-8: `starts` int64 [strings + 1], `data` uint8.
    """
    first, second = data[starts[one] : starts[one + 1]], data[starts[other] : starts[other + 1]]
    for place in range(min(len(first), len(second))):
        if first[place] != second[place]:
            return bool(first[place] < second[place])
    return len(first) < len(second)
