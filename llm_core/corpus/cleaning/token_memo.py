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

from llm_core.corpus.cleaning.kernels_sentences import sum_sentences
from llm_core.corpus.cleaning.kernels_text import BASE, finish, mixed, space_width
from llm_core.corpus.cleaning.splitting import (
    ALONE,
    LONGEST,
    MOST_TOKENS,
    character_classes,
    character_features,
    flags_of,
    split_chunk,
    token_flags,
)
from llm_core.kernels.arrays import Bytes, Hashes, Ints, Small
from llm_core.kernels.hashing import FNV_PRIME, MIX
from llm_core.kernels.tables import place
from llm_core.runtime.compilation import njit

# spaCy takes off prefixes and suffixes one at a time and copies the rest each time, which is quadratic. A chunk is one
# token where that would cost much: beyond LONGEST_CHUNK code points (a data URL, no language), and beyond
# LONGEST_MARKS where one of its ends is mostly marks (a prefix or suffix has a mark in at least each third character).
LONGEST_CHUNK, LONGEST_MARKS, ENDING = 10_000, 256, 60
ROOM = 1 << 16
AHEAD = 4  # zero bytes after the last document, so that kernels may read ahead


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
            *_take(
                np.array(rows, np.int64), self.data, self.bounds, self.starts, self.ends, self.chunks, self.first,
                self.hashes, self.lengths, self.flags,
            )
        )  # fmt: skip


class Words:
    """The memo. Not for several threads at once; each process holds its own."""

    def __init__(self, entries: int = 1 << 20) -> None:
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
            _add_special(self.special_keys, _codes(special), len(parts) == 1)
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
        chunks, starts, ends, names = _find_chunks(data, bounds)
        found = np.empty((len(starts), 2), np.int32)  # first token in the memo, number of tokens
        done = 0
        while done < len(starts):  # some thousand chunks at a time, so that the memo can grow in between
            self._grow()
            more = min(ROOM // 2, len(starts) - done)
            unknown = np.empty(more, np.int64)
            count = _look_up(
                data, starts, ends, names, done, done + more, found, unknown,
                self.keys, self.where, self.hashes, self.lengths, self.flags, self.used,
                self.classes, self.features, self.special_keys, self.longest_special,
            )  # fmt: skip
            if count:
                self._ask(data, starts, ends, names, unknown[:count], found)
            done += more
        first, total = _first_tokens(found)
        hashes, lengths, flags = np.empty(total, np.uint64), np.empty(total, np.int32), np.empty(total, np.uint8)
        _gather(found, self.hashes, self.lengths, self.flags, first, hashes, lengths, flags)
        return Tokens(data, bounds, starts, ends, chunks, first, hashes, lengths, flags)

    def _grow(self, tokens: int = ROOM * MOST_TOKENS) -> None:
        if 2 * (self.used[0] + ROOM) > len(self.keys):
            old_keys, old_where = self.keys, self.where
            self.keys, self.where = _slots(4 * len(old_keys))
            _rehash(old_keys, old_where, self.keys, self.where)
        if self.used[1] + tokens > len(self.hashes):
            size = max(2 * len(self.hashes), int(self.used[1]) + tokens)
            self.hashes, self.lengths = np.resize(self.hashes, size), np.resize(self.lengths, size)
            self.flags = np.resize(self.flags, size)

    def _ask(self, data: Bytes, starts: Ints, ends: Ints, names: Hashes, unknown: Ints, found: Small) -> None:
        """Let spaCy split the chunks numbered `unknown` and put them into the memo; see `_look_up`."""
        waiting: dict[int, str] = {}  # hash -> chunk, each once
        keys = names[unknown].tolist()
        for index, key in zip(unknown, keys, strict=True):
            if key not in waiting:
                waiting[key] = data[starts[index] : ends[index]].tobytes().decode("utf-8")
        for key, tokens in zip(waiting, self.split(list(waiting.values())), strict=True):
            self._insert(np.uint64(key), tokens)
        for index, key in zip(unknown, keys, strict=True):
            found[index] = self.where[place(self.keys, len(self.keys) - 1, np.uint64(key))]

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

    def _insert(self, key: np.uint64, tokens: list[str]) -> None:
        slot = place(self.keys, len(self.keys) - 1, key)
        first = int(self.used[1])
        if first + len(tokens) > len(self.hashes):
            self._grow(len(tokens) + ROOM * MOST_TOKENS)
        for number, token in enumerate(tokens, start=first):
            self.hashes[number] = _hash_codes(_codes(token))
            self.lengths[number] = len(token)
            self.flags[number] = flags_of(token)
        self.keys[slot] = key
        self.where[slot] = first, len(tokens)
        self.used += 1, len(tokens)


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
    return np.uint64(_hash_codes(_codes(token)))


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


@njit()
def _hash_codes(codes: Small) -> np.uint64:
    """Polynomial hash of code points: int32 [characters]."""
    value = np.uint64(0)
    for index in range(len(codes)):
        value = value * BASE + mixed(codes[index])
    return value


@njit()
def _add_special(keys: Hashes, codes: Small, alone: bool) -> None:
    """Put a special case into the table `keys` (uint64 [slots]); `alone`: it is one token."""
    key = finish(_hash_codes(codes))
    keys[place(keys, len(keys) - 1, key)] = key
    if alone:
        keys[place(keys, len(keys) - 1, key ^ ALONE)] = key ^ ALONE


@njit()
def _find_chunks(data: Bytes, bounds: Ints) -> tuple[Ints, Ints, Ints, Hashes]:
    """The chunks of documents: first chunk of each document (int64 [documents + 1]), where each chunk begins and ends
    in `data` (int64 [chunks] both), and the hash by which it is known (uint64 [chunks])."""
    chunks = np.zeros(len(bounds), np.int64)
    most = len(data) // 2 + len(bounds)  # pages of memory that are never written cost nothing
    starts, ends, names = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    count = 0
    for document in range(len(bounds) - 1):
        begin = position = bounds[document]
        end = bounds[document + 1]
        name = MIX
        while position < end:
            byte = data[position]
            width = 0 if 32 < byte < 0xC2 else space_width(data, position, end)
            if width == 0:
                name = (name ^ np.uint64(byte)) * FNV_PRIME
                position += 1
                continue
            if begin < position:
                starts[count], ends[count], names[count] = begin, position, finish(name)
                count += 1
            position += width
            begin, name = position, MIX
        if begin < end:
            starts[count], ends[count], names[count] = begin, end, finish(name)
            count += 1
        chunks[document + 1] = count
    return chunks, starts[:count], ends[:count], names[:count]


@njit()
def _take(
    rows: Ints, data: Bytes, bounds: Ints, starts: Ints, ends: Ints, chunks: Ints, first: Ints,
    hashes: Hashes, lengths: Small, flags: Bytes,
) -> tuple[Bytes, Ints, Ints, Ints, Ints, Ints, Hashes, Small, Bytes]:  # fmt: skip
    """The fields of `Tokens` for the documents numbered `rows` (int64 [documents taken])."""
    size = chunk_count = token_count = 0
    for row in rows:
        size += bounds[row + 1] - bounds[row]
        chunk_count += chunks[row + 1] - chunks[row]
        token_count += first[chunks[row + 1]] - first[chunks[row]]
    new_data = np.empty(size + AHEAD, np.uint8)
    new_bounds, new_chunks = np.zeros(len(rows) + 1, np.int64), np.zeros(len(rows) + 1, np.int64)
    new_starts, new_ends = np.empty(chunk_count, np.int64), np.empty(chunk_count, np.int64)
    new_first = np.zeros(chunk_count + 1, np.int64)
    new_hashes, new_flags = np.empty(token_count, np.uint64), np.empty(token_count, np.uint8)
    new_lengths = np.empty(token_count, np.int32)
    size = chunk_count = token_count = 0
    for number in range(len(rows)):
        row = rows[number]
        low, high = bounds[row], bounds[row + 1]
        new_data[size : size + high - low] = data[low:high]
        moved, low_token = size - low, first[chunks[row]]
        for chunk in range(chunks[row], chunks[row + 1]):
            new_starts[chunk_count], new_ends[chunk_count] = starts[chunk] + moved, ends[chunk] + moved
            new_first[chunk_count] = first[chunk] - low_token + token_count
            chunk_count += 1
        high_token = first[chunks[row + 1]]
        new_hashes[token_count : token_count + high_token - low_token] = hashes[low_token:high_token]
        new_lengths[token_count : token_count + high_token - low_token] = lengths[low_token:high_token]
        new_flags[token_count : token_count + high_token - low_token] = flags[low_token:high_token]
        size += high - low
        token_count += high_token - low_token
        new_bounds[number + 1], new_chunks[number + 1] = size, chunk_count
    new_data[size:] = 0
    new_first[chunk_count] = token_count
    return new_data, new_bounds, new_starts, new_ends, new_chunks, new_first, new_hashes, new_lengths, new_flags


@njit()
def _look_up(
    data: Bytes, starts: Ints, ends: Ints, names: Hashes, begin: int, end: int, found: Small, unknown: Ints,
    keys: Hashes, where: Small, hashes: Hashes, lengths: Small, flags: Bytes, used: Ints,
    classes: tuple[Bytes, Ints], features: Bytes, special_keys: Hashes, longest_special: int,
) -> int:  # fmt: skip
    """Find the chunks `begin` to `end` in the memo, or split and insert them; the number of those left to spaCy.

    `data`, `starts`, `ends`, `names`: see `_find_chunks`. Written: `found`, int32 [chunks, 2], (first token in the
    memo, number of tokens); `unknown`, int64 [end - begin], the chunks left to spaCy. The memo: `keys` and `where` (see
    `_slots`), the tokens' `hashes`, `lengths` and `flags` ([tokens of the memo]; types as in `Tokens`), `used` int64
    [2], chunks and tokens in it. The tables of `splitting.py`: `classes`, `features`, `special_keys` uint64 [slots].
    """
    codes, kinds = np.empty(LONGEST, np.int32), np.empty(LONGEST, np.uint8)
    cuts = np.empty(3 * MOST_TOKENS, np.int64)
    missing = 0
    mask = len(keys) - 1
    for chunk in range(begin, end):
        key = names[chunk]
        slot = place(keys, mask, key)
        if keys[slot] == 0:
            first_byte, last_byte = starts[chunk], ends[chunk]
            tokens = 0
            if last_byte - first_byte <= 3 * LONGEST:
                tokens = split_chunk(
                    data, first_byte, last_byte, classes, special_keys, len(special_keys) - 1, longest_special,
                    codes, kinds, cuts,
                )  # fmt: skip
            if tokens == 0:
                unknown[missing] = chunk
                missing += 1
                continue
            place_of_token = used[1]
            where[slot, 0], where[slot, 1] = place_of_token, tokens
            for token in range(tokens):
                value = np.uint64(0)
                for index in range(cuts[token], cuts[token + 1]):
                    value = value * BASE + mixed(codes[index])
                hashes[place_of_token] = value
                lengths[place_of_token] = cuts[token + 1] - cuts[token]
                flags[place_of_token] = token_flags(codes, cuts[token], cuts[token + 1], features)
                place_of_token += 1
            keys[slot] = key
            used[0] += 1
            used[1] = place_of_token
        found[chunk, 0], found[chunk, 1] = where[slot, 0], where[slot, 1]
    return missing


@njit()
def _rehash(old_keys: Hashes, old_where: Small, keys: Hashes, where: Small) -> None:
    """Put what is in a table (see `_slots`) into an empty, larger one."""
    for old in range(len(old_keys)):
        if old_keys[old] != 0:
            slot = place(keys, len(keys) - 1, old_keys[old])
            keys[slot] = old_keys[old]
            where[slot] = old_where[old]


@njit()
def _first_tokens(found: Small) -> tuple[Ints, int]:
    """The first token of each chunk, int64 [chunks + 1], and the number of all tokens; `found` as in `_look_up`."""
    first = np.empty(len(found) + 1, np.int64)
    total = 0
    for chunk in range(len(found)):
        first[chunk] = total
        total += found[chunk, 1]
    first[len(found)] = total
    return first, total


@njit()
def _gather(
    found: Small, memo_hashes: Hashes, memo_lengths: Small, memo_flags: Bytes,
    first: Ints, hashes: Hashes, lengths: Small, flags: Bytes,
) -> None:  # fmt: skip
    """Copy the tokens of the chunks `found` (see `_look_up`) from the memo to `hashes`, `lengths` and `flags`."""
    for chunk in range(len(found)):
        source = found[chunk, 0]
        for token in range(first[chunk], first[chunk + 1]):
            hashes[token], lengths[token], flags[token] = memo_hashes[source], memo_lengths[source], memo_flags[source]
            source += 1
