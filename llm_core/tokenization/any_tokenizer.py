"""Encoding with any fast tokenizer of the Hugging Face layout, and which encoder a folder needs.

This project's own byte-level BPE has a compiled encoder (`encoding`). Every other tokenizer is run by `tokenizers`,
as transformers' AutoTokenizer configures it. Names of control tokens in a text are ordinary text in both.
"""

import platform
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.errors import UserError
from llm_core.runtime.digests import file_digest
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.layout import NotOursError, Vocabulary

Ids = npt.NDArray[np.unsignedinteger]
Starts = npt.NDArray[np.int64]


class TextEncoder(Protocol):
    """The interface of an encoder for `tokenize`; threads may share one."""

    size: int
    """Number of ids: the largest id and one."""
    digest: str
    """Digest of tokenizer.json, which identifies the tokenizer in token shards."""

    def encode(self, texts: pa.LargeStringArray, ends: bool = False) -> tuple[Ids, Starts]:
        """Ids of all texts one after another, and where each text's ids begin (int64 [texts + 1]).

        With `ends`, each text is a document, with the tokens before and after it.
        """


def encoder_of(folder: str | Path) -> TextEncoder:
    """The encoder for the tokenizer in `folder`. Raises UserError where there is none that can be used."""
    if not (Path(folder) / "tokenizer.json").is_file():
        raise UserError(f"{folder}: holds no tokenizer.json; `llm-core train-tokenizer` writes one")
    try:
        return Encoder(Vocabulary(folder))
    except NotOursError:
        return LibraryEncoder(folder)


@lru_cache(maxsize=1)
def known_encoder(folder: str, digest: str) -> TextEncoder:
    """The encoder of the tokenizer in `folder` that has this digest; made once in each process that encodes."""
    encoder = encoder_of(folder)
    if encoder.digest != digest:
        raise UserError(f"{folder}: holds another tokenizer on the node {platform.node()}; share one folder")
    return encoder


class LibraryEncoder:
    """A fast tokenizer of transformers, over whole batches of texts."""

    def __init__(self, folder: str | Path) -> None:
        from llm_core.models.loading import load_tokenizer
        from llm_core.models.prompts import control_tokens, document_frame

        tokenizer = load_tokenizer(folder)
        if not tokenizer.is_fast:
            raise UserError(f"{folder}: encoding a corpus needs a fast tokenizer, with a tokenizer.json")
        self.size = max(len(tokenizer), *(number + 1 for number in tokenizer.get_vocab().values()))
        self.digest = file_digest(Path(folder) / "tokenizer.json")
        self.dtype = np.uint16 if self.size <= 1 << 16 else np.uint32
        self.special_tokens = len(control_tokens(tokenizer))
        self._before, self._behind = document_frame(tokenizer)
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self._control = {name: tokenizer.convert_tokens_to_ids(name) for name in control_tokens(tokenizer)}

    def encode(self, texts: pa.LargeStringArray, ends: bool = False) -> tuple[Ids, Starts]:
        """As `TextEncoder.encode` says."""
        strings = texts.to_pylist()
        found = self._backend.encode_batch_fast(strings, add_special_tokens=False)
        rows = [self._plain(text, one.ids) for text, one in zip(strings, found, strict=True)]
        before, behind = (self._before, self._behind) if ends else ([], [])
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(before) + len(row) + len(behind) for row in rows], out=starts[1:])
        ids: Any = np.empty(int(starts[-1]), self.dtype)
        for row, start, end in zip(rows, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            ids[start:end] = [*before, *row, *behind]
        return ids, starts

    def _plain(self, text: str, ids: list[int]) -> list[int]:
        """The ids of a text without control tokens.

        A vocabulary may hold the name of a control token as an ordinary piece (unigram models hold `</s>`): there the
        text is cut inside the name, and its parts are encoded separately.
        """
        named = [name for name in self._control if name in text]
        if not named or not {self._control[name] for name in named}.intersection(ids):
            return ids
        return [
            number for part in _cut(text, named) for number in self._backend.encode(part, add_special_tokens=False).ids
        ]


def _cut(text: str, names: Sequence[str]) -> list[str]:
    """The text in parts, cut after the first character of each of the `names` in it."""
    places = sorted({at + 1 for name in names for at in _places(text, name)})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def _places(text: str, name: str) -> list[int]:
    found, at = [], text.find(name)
    while at >= 0:
        found.append(at)
        at = text.find(name, at + 1)
    return found
