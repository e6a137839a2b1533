"""Types of the arrays that compiled code takes and returns. A docstring adds the shape: `int64 [documents + 1]`.

Text is UTF-8 in one array of bytes with the places where each text begins and the last one ends, as in an Arrow string
column: text `i` is `data[bounds[i]:bounds[i + 1]]`.
"""

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]
Words16 = npt.NDArray[np.uint16]
Words32 = npt.NDArray[np.uint32]
