"""Cross-entropy of rows of logits in bf16 with its gradient, on a CPU: each row is read once and written once.

torch passes over all logits six times: to fp32, maximum, softmax, the maximum of that, the targets, back to bf16. Here
a row is worked on in memory that stays in the first caches. The exponential is 2 to the power of the integral
part, by the bits of a float, times a polynomial of degree 6 in the rest, with a relative error below 2e-7. A row that
holds a NaN has a NaN as its loss.
"""

import numpy as np

from llm_core.kernels.arrays import Ints, Singles, Words16, Words32
from llm_core.runtime.compilation import njit

FASTMATH = {"reassoc", "contract", "arcp"}  # what lets sums be vectorised, and keeps NaNs
LOG2_E = np.float32(1.4426950408889634)
NOT_A_NUMBER = np.uint32(0x7F800000)  # the bits of infinity, without a sign: those above are NaNs
SIGN = np.uint32(0x7FFFFFFF)
POLYNOMIAL = tuple(  # of 2 ** x for x from -1/2 to 1/2 (Taylor's), the highest power first
    np.float32(value)
    for value in (1.5403530e-4, 1.3333558e-3, 9.6181291e-3, 5.5504109e-2, 2.4022651e-1, 6.9314718e-1, 1.0)
)


@njit(nogil=True, fastmath=FASTMATH, error_model="numpy")
def _row(bits: Words32, shares: Singles, scales: Words32, target: int, z_loss: float) -> tuple[np.float32, np.float32]:
    """(Loss in nats, logarithm of the sum of exponentials) of a row; its gradient is then in `shares`.

    `bits`: uint32 [V], the logits as fp32; `scales` uint32 [V] is room to work in. Without a target (-100) all is 0.
    """
    logits, powers = bits.view(np.float32), scales.view(np.float32)
    if target < 0:
        shares[:] = np.float32(0)
        return np.float32(0), np.float32(0)
    top, largest = np.int32(-2147483648), np.uint32(0)
    for place in range(len(bits)):  # floats have the order of their bits, where those of negative ones are turned
        value = bits[place]
        largest = max(largest, value & SIGN)
        signed = np.int32(value)
        top = max(top, signed ^ ((signed >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    if largest > NOT_A_NUMBER:
        shares[:] = np.float32(np.nan)
        return np.float32(np.nan), np.float32(np.nan)
    shares.view(np.int32)[0] = top ^ ((top >> np.int32(31)) & np.int32(0x7FFFFFFF))
    highest = shares[0]
    for place in range(len(bits)):
        value = max((logits[place] - highest) * LOG2_E, np.float32(-126))
        whole = np.floor(value + np.float32(0.5))
        scales[place] = np.uint32(np.int32(whole) + np.int32(127)) << np.uint32(23)
        rest = value - whole
        power = POLYNOMIAL[0]
        power = power * rest + POLYNOMIAL[1]
        power = power * rest + POLYNOMIAL[2]
        power = power * rest + POLYNOMIAL[3]
        power = power * rest + POLYNOMIAL[4]
        power = power * rest + POLYNOMIAL[5]
        power = power * rest + POLYNOMIAL[6]
        shares[place] = power
    total = np.float32(0)
    for place in range(len(bits)):
        shares[place] *= powers[place]
        total += shares[place]
    normaliser = highest + np.log(total)
    factor = (np.float32(1) + np.float32(2 * z_loss) * normaliser) / total
    for place in range(len(bits)):
        shares[place] *= factor
    shares[target] -= np.float32(1)
    return normaliser - logits[target], normaliser


@njit(nogil=True, fastmath=FASTMATH, error_model="numpy")
def softmax_rows(logits: Words16, targets: Ints, z_loss: float, losses: Singles, normalisers: Singles) -> None:
    """Turn rows of `logits` (bf16 as uint16 [N, V]) into the gradient of their summed losses.

    `targets`: int64 [N], -100 where nothing is predicted; `losses` and `normalisers` (float32 [N]) are written.
    """
    size = logits.shape[1]
    bits, scales, shares = np.empty(size, np.uint32), np.empty(size, np.uint32), np.empty(size, np.float32)
    found = shares.view(np.uint32)
    for row in range(len(logits)):
        for place in range(size):
            bits[place] = np.uint32(logits[row, place]) << np.uint32(16)
        losses[row], normalisers[row] = _row(bits, shares, scales, targets[row], z_loss)
        for place in range(size):  # to the nearest, of two the even one
            value = found[place]
            odd = (value >> np.uint32(16)) & np.uint32(1)
            logits[row, place] = np.uint16((value + np.uint32(0x7FFF) + odd) >> np.uint32(16))
