"""Compiled code of the memo from whitespace chunk to tokens (`token_memo.py`).

The fields of `token_memo.Tokens` are arguments and results here; their shapes are there.
"""

import numpy as np

from llm_core.corpus.cleaning.kernels_text import BASE, finish, mixed, space_width
from llm_core.corpus.cleaning.splitting import ALONE, LONGEST, MOST_TOKENS, split_chunk, token_flags
from llm_core.kernels.arrays import Bytes, Hashes, Ints, Small
from llm_core.kernels.hashing import FNV_PRIME, MIX
from llm_core.kernels.tables import place
from llm_core.runtime.compilation import njit

AHEAD = 4  # zero bytes after the last document, so that kernels may read ahead


@njit()
def hash_codes(codes: Small) -> np.uint64:
    """Polynomial hash of code points: int32 [characters]."""
    value = np.uint64(0)
    for index in range(len(codes)):
        value = value * BASE + mixed(codes[index])
    return value


@njit()
def add_special(keys: Hashes, codes: Small, alone: bool) -> None:
    """Put a special case into the table `keys` (uint64 [slots]); `alone`: it is one token."""
    key = finish(hash_codes(codes))
    keys[place(keys, len(keys) - 1, key)] = key
    if alone:
        keys[place(keys, len(keys) - 1, key ^ ALONE)] = key ^ ALONE


@njit()
def find_chunks(data: Bytes, bounds: Ints) -> tuple[Ints, Ints, Ints, Hashes]:
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
def take(
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
def look_up(
    data: Bytes, starts: Ints, ends: Ints, names: Hashes, begin: int, end: int, found: Small, unknown: Ints,
    keys: Hashes, where: Small, hashes: Hashes, lengths: Small, flags: Bytes, used: Ints,
    classes: tuple[Bytes, Ints], features: Bytes, special_keys: Hashes, longest_special: int,
) -> int:  # fmt: skip
    """Find the chunks `begin` to `end` in the memo, or split and insert them; the number of those left to spaCy.

    `data`, `starts`, `ends`, `names`: see `find_chunks`. Written: `found`, int32 [chunks, 2], (first token in the
    memo, number of tokens); `unknown`, int64 [end - begin], the chunks left to spaCy. The memo: `keys` and `where` (see
    `token_memo._slots`), the tokens' `hashes`, `lengths` and `flags` ([tokens of the memo]; types as in `Tokens`),
    `used` int64 [2], chunks and tokens in it. The tables of `splitting.py`: `classes`, `features`, `special_keys`
    uint64 [slots].
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
def insert(
    names: Hashes, counts: Ints, codes: Small, sizes: Ints, features: Bytes,
    keys: Hashes, where: Small, hashes: Hashes, lengths: Small, flags: Bytes, used: Ints,
) -> None:  # fmt: skip
    """Put chunks into the memo that spaCy has split; for its arrays and `features` see `look_up`.

    `names`: uint64 [chunks], their hashes; `counts`: int64 [chunks], tokens of each; `codes`: int32, the code points of
    all tokens, one after the other; `sizes`: int64 [tokens], code points of each.
    """
    number = begin = 0
    token = used[1]
    for chunk in range(len(names)):
        slot = place(keys, len(keys) - 1, names[chunk])
        keys[slot] = names[chunk]
        where[slot, 0], where[slot, 1] = token, counts[chunk]
        for _ in range(counts[chunk]):
            end = begin + sizes[number]
            hashes[token] = hash_codes(codes[begin:end])
            lengths[token] = end - begin
            flags[token] = token_flags(codes, begin, end, features)
            token, number, begin = token + 1, number + 1, end
    used[0] += len(names)
    used[1] = token


@njit()
def look_again(names: Hashes, unknown: Ints, found: Small, keys: Hashes, where: Small) -> None:
    """Find the chunks numbered `unknown` (int64), which are in the memo now; see `look_up`."""
    for chunk in unknown:
        slot = place(keys, len(keys) - 1, names[chunk])
        found[chunk, 0], found[chunk, 1] = where[slot, 0], where[slot, 1]


@njit()
def rehash(old_keys: Hashes, old_where: Small, keys: Hashes, where: Small) -> None:
    """Put what is in a table (see `token_memo._slots`) into an empty, larger one."""
    for old in range(len(old_keys)):
        if old_keys[old] != 0:
            slot = place(keys, len(keys) - 1, old_keys[old])
            keys[slot] = old_keys[old]
            where[slot] = old_where[old]


@njit()
def first_tokens(found: Small) -> tuple[Ints, int]:
    """The first token of each chunk, int64 [chunks + 1], and the number of all tokens; `found` as in `look_up`."""
    first = np.empty(len(found) + 1, np.int64)
    total = 0
    for chunk in range(len(found)):
        first[chunk] = total
        total += found[chunk, 1]
    first[len(found)] = total
    return first, total


@njit()
def gather(
    found: Small, memo_hashes: Hashes, memo_lengths: Small, memo_flags: Bytes,
    first: Ints, hashes: Hashes, lengths: Small, flags: Bytes,
) -> None:  # fmt: skip
    """Copy the tokens of the chunks `found` (see `look_up`) from the memo to `hashes`, `lengths` and `flags`."""
    for chunk in range(len(found)):
        source = found[chunk, 0]
        for token in range(first[chunk], first[chunk + 1]):
            hashes[token], lengths[token], flags[token] = memo_hashes[source], memo_lengths[source], memo_flags[source]
            source += 1
