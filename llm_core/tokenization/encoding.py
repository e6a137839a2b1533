"""Text to token ids."""

import numpy as np
import pyarrow as pa

from llm_core.tokenization.layout import Vocabulary


class Encoder:
    """Encodes batches of text; special tokens' names in a text are plain text."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        import tiktoken

        self.vocabulary = vocabulary
        self._core = tiktoken.Encoding(
            "llm-core", pat_str=vocabulary.pattern, mergeable_ranks=vocabulary.tokens, special_tokens={}
        )

    def encode(self, texts: pa.LargeStringArray) -> pa.LargeListArray:
        """Ids of each text, without begin and end tokens: large_list<uint32>."""
        rows = [self._core.encode_to_numpy(text.as_py(), disallowed_special=()) for text in texts]
        offsets = np.cumsum([0] + [len(row) for row in rows])
        values = np.concatenate(rows) if rows else np.zeros(0, np.uint32)
        return pa.LargeListArray.from_arrays(offsets, values)
