"""Tokens of whole batches, by a memo from whitespace chunk to tokens.

The rules count words as datatrove does: with spaCy's English tokenizer, which splits each whitespace chunk by itself
(its special cases may span chunks only where they could not change anything). So a chunk is split once, by
`splitting.py` or, where that is unsure, by spaCy, and then found in a hash table. Splitting later documents
costs a scan for whitespace and a look-up per word.

A token is three numbers: hash of its characters, length in code points, flags. The memo holds at most `entries`
chunks and starts afresh when it is full: about 100 bytes a chunk. Chunks are distinguished by a 64-bit hash.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from llm_core.corpus.cleaning.kernels_memo import (
    AHEAD,
    add_special,
    find_chunks,
    first_tokens,
    gather,
    hash_codes,
    insert,
    look_again,
    look_up,
    rehash,
    take,
)
from llm_core.corpus.cleaning.kernels_sentences import sum_sentences
from llm_core.corpus.cleaning.splitting import MOST_TOKENS
from llm_core.corpus.cleaning.token_tables import UNKNOWN, character_classes, character_features, character_flags
from llm_core.kernels.arrays import Bytes, Hashes, Ints, Small
from llm_core.runtime.imports import without

# spaCy takes off prefixes and suffixes one at a time and copies the rest each time, which is quadratic. A chunk is one
# token where that would cost much: beyond LONGEST_CHUNK code points (a data URL, no language), and beyond
# LONGEST_MARKS where one of its ends is mostly marks (a prefix or suffix has a mark in at least each third character).
LONGEST_CHUNK, LONGEST_MARKS, ENDING = 10_000, 256, 60
ROOM = 1 << 16


@dataclass
class Tokens:
    """Tokens of documents: chunk i of the batch has the tokens first[i] to first[i + 1] (not included)."""

    data: Bytes
    """uint8 [bytes + AHEAD]: the documents' UTF-8, one after the other, then zeros"""
    bounds: Ints
    """int64 [documents + 1]: where each document begins in `data`, and the last ends"""
    starts: Ints
    """int64 [chunks]: where each chunk begins in `data`"""
    ends: Ints
    """int64 [chunks]: where each chunk ends in `data`"""
    chunks: Ints
    """int64 [documents + 1]: the first chunk of each document, and the number of all"""
    first: Ints
    """int64 [chunks + 1]: the first token of each chunk, and the number of all"""
    hashes: Hashes
    """uint64 [tokens]"""
    lengths: Small
    """int32 [tokens], in code points"""
    flags: Bytes
    """uint8 [tokens]: WORD, ALPHA, PUNCT and SENTENCE_END of `splitting.py`"""

    def take(self, rows: list[int]) -> "Tokens":
        """The tokens of some of the documents, in order, without splitting them again."""
        return Tokens(
            *take(
                np.array(rows, np.int64), self.data, self.bounds, self.starts, self.ends, self.chunks, self.first,
                self.hashes, self.lengths, self.flags,
            )
        )  # fmt: skip


class Words:
    """The memo. Not for several threads at once; each process holds its own."""

    def __init__(self, entries: int = 1 << 20) -> None:
        with without("torch"):  # spaCy loads it for models; it takes longer than all the rest
            import spacy

        self.entries = entries
        nlp: Any = spacy.blank("en")
        self.nlp = nlp
        self.classes = character_classes(self.nlp.tokenizer)
        self.features = character_features()
        specials: dict[str, Any] = nlp.tokenizer.rules
        self.longest_special = max(map(len, specials))
        self.special_keys = np.zeros(1 << 13, np.uint64)
        for special, parts in specials.items():
            add_special(self.special_keys, _codes(special), len(parts) == 1)
        self.asked = 0  # chunks that spaCy had to split
        self._reset()

    def _reset(self) -> None:
        self.keys, self.where = _slots(1 << 17)
        self.hashes = np.zeros(ROOM, np.uint64)
        self.lengths = np.zeros(ROOM, np.int32)
        self.flags = np.zeros(ROOM, np.uint8)
        self.used = np.zeros(2, np.int64)  # chunks, tokens

    def tokens(self, data: Bytes, bounds: Ints) -> Tokens:
        """Split documents: `data` uint8 [bytes], valid UTF-8; `bounds` int64 [documents + 1]."""
        if self.used[0] > self.entries or self.used[1] > 4 * self.entries:
            self._reset()
        chunks, starts, ends, names = find_chunks(data, bounds)
        found = np.empty((len(starts), 2), np.int32)  # first token in the memo, number of tokens
        done = 0
        while done < len(starts):  # some thousand chunks at a time, so that the memo can grow in between
            self._grow()
            more = min(ROOM // 2, len(starts) - done)
            unknown = np.empty(more, np.int64)
            count = look_up(
                data, starts, ends, names, done, done + more, found, unknown,
                self.keys, self.where, self.hashes, self.lengths, self.flags, self.used,
                self.classes, self.features, self.special_keys, self.longest_special,
            )  # fmt: skip
            if count:
                self._ask(data, starts, ends, names, unknown[:count], found)
            done += more
        first, total = first_tokens(found)
        hashes, lengths, flags = np.empty(total, np.uint64), np.empty(total, np.int32), np.empty(total, np.uint8)
        gather(found, self.hashes, self.lengths, self.flags, first, hashes, lengths, flags)
        return Tokens(data, bounds, starts, ends, chunks, first, hashes, lengths, flags)

    def _grow(self, tokens: int = ROOM * MOST_TOKENS) -> None:
        if 2 * (self.used[0] + ROOM) > len(self.keys):
            old_keys, old_where = self.keys, self.where
            self.keys, self.where = _slots(4 * len(old_keys))
            rehash(old_keys, old_where, self.keys, self.where)
        if self.used[1] + tokens > len(self.hashes):
            size = max(2 * len(self.hashes), int(self.used[1]) + tokens)
            self.hashes, self.lengths = np.resize(self.hashes, size), np.resize(self.lengths, size)
            self.flags = np.resize(self.flags, size)

    def _ask(self, data: Bytes, starts: Ints, ends: Ints, names: Hashes, unknown: Ints, found: Small) -> None:
        """Let spaCy split the chunks numbered `unknown` and put them into the memo; see `look_up`."""
        waiting: dict[int, str] = {}  # hash -> chunk, each once
        for index, key in zip(unknown.tolist(), names[unknown].tolist(), strict=True):
            if key not in waiting:
                waiting[key] = data[starts[index] : ends[index]].tobytes().decode("utf-8")
        self._insert(np.array(list(waiting), np.uint64), self.split(list(waiting.values())))
        look_again(names, unknown, found, self.keys, self.where)

    def split(self, chunks: list[str]) -> list[list[str]]:
        """spaCy's tokens of chunks without whitespace in them.

        One call for all of them, on lines of their own, costs a fraction of one call each.
        """
        self.asked += len(chunks)
        plain = [chunk for chunk in chunks if not _costly(chunk)]
        split = iter(self._split(plain) if plain else [])
        return [[chunk] if _costly(chunk) else next(split) for chunk in chunks]

    def _split(self, chunks: list[str]) -> list[list[str]]:
        tokens: list[list[str]] = []
        with self.nlp.memory_zone():
            try:
                current: list[str] = []
                for token in self.nlp.tokenizer("\n".join(chunks)):
                    text = token.text
                    if text == "\n":
                        tokens.append(current)
                        current = []
                    else:
                        current.append(text)
                return [*tokens, current]
            except ValueError:  # a name of spaCy's own symbols ("IS_ALPHA") confuses its table of strings
                pass
        if len(chunks) == 1:
            return [chunks]
        middle = len(chunks) // 2
        return self._split(chunks[:middle]) + self._split(chunks[middle:])

    def sentences(self, lines: list[str]) -> int:
        """Sentences in stripped lines, each line by itself; a line that has become empty counts as one."""
        data, bounds = join(lines)
        tokens = self.tokens(data, bounds)
        return sum_sentences(data, bounds, tokens.starts, tokens.ends, tokens.chunks, tokens.first, tokens.flags)

    def _insert(self, names: Hashes, split: list[list[str]]) -> None:
        """Put chunks of these hashes (uint64 [chunks]) and tokens into the memo."""
        tokens = [token for chunk in split for token in chunk]
        counts, sizes = np.array(list(map(len, split)), np.int64), np.array(list(map(len, tokens)), np.int64)
        codes = _codes("".join(tokens))
        for code in np.unique(codes[self.features[codes] == UNKNOWN]).tolist():
            self.features[code] = character_flags(chr(code))
        self._grow(len(tokens))
        insert(
            names, counts, codes, sizes, self.features,
            self.keys, self.where, self.hashes, self.lengths, self.flags, self.used,
        )  # fmt: skip


def _costly(chunk: str) -> bool:
    """Whether spaCy would take too long over a chunk (see LONGEST_CHUNK)."""
    if len(chunk) <= LONGEST_MARKS:
        return False
    ends = (chunk[:ENDING], chunk[-ENDING:])
    return len(chunk) > LONGEST_CHUNK or any(3 * sum(map(str.isalnum, end)) <= 2 * ENDING for end in ends)


@cache
def shared_words(entries: int) -> Words:
    """This process's memo."""
    return Words(entries)


def hash_token(token: str) -> np.uint64:
    """The hash by which a token is known."""
    return np.uint64(hash_codes(_codes(token)))


def join(texts: list[str]) -> tuple[Bytes, Ints]:
    """Texts as one array of UTF-8, uint8 [bytes + AHEAD], and the bounds of each in it, int64 [texts + 1]."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    bounds = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=bounds[1:])
    return np.frombuffer(b"".join(encoded) + bytes(AHEAD), np.uint8), bounds


def _slots(count: int) -> tuple[Hashes, Small]:
    """Empty keys, uint64 [count], and for each (first token, number of tokens), int32 [count, 2].

    Both are views of one array, side by side, so that a look-up costs one cache miss.
    """
    slots = np.zeros((count, 2), np.uint64)
    return slots[:, 0], slots.view(np.int32)[:, 2:]


def _codes(text: str) -> Small:
    """The code points of a text: int32 [characters]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.int32)
