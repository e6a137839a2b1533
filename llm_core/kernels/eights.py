"""Up to eight bytes of an array as one number: hashing and comparing take whole words, not single bytes.

numba has no expression for a load that is not aligned. The machine is taken to be little-endian, as elsewhere.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from llm_core.kernels.arrays import Bytes
from llm_core.runtime.compilation import njit


@intrinsic
def _eight(typing_context: Any, data: Any, place: Any) -> Any:
    """The eight bytes of `data` (uint8) from `place` on, unchecked: uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.intp), generate


@njit(nogil=True)
def eight(data: Bytes, place: int, size: int) -> np.uint64:
    """The first `size` bytes (at most 8) of `data` (uint8) from `place` on, the first in the low bits: uint64."""
    if place + 8 <= len(data):
        value = _eight(data, place)
        if size < 8:
            value &= (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
        return value  # type: ignore[no-any-return]
    value = np.uint64(0)
    for k in range(size):
        value |= np.uint64(data[place + k]) << np.uint64(8 * k)
    return value
