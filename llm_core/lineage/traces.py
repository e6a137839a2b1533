"""Traces of a removed document: its id, its address, its text, a piece of its text or an edited copy.

Texts of documents are compared as a whole with every tombstone, each distinct text once: the same text is in `raw`,
`clean`, `dedup`, `split`, in the token shards and in DVC's cache. All other text is searched for ids and for runs of 13
words. Runs that also occur in a document that stays (licences, menus) prove nothing and are left out.

No text is compared with the tombstones one by one. Words are hashed once, and a table of bits excludes nearly all runs
that no tombstone has; only the others are looked up.
"""

import hashlib
import html
import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from llm_core.corpus.similarity.sketch import SEED, Members, shingles_of
from llm_core.corpus.similarity.word_hashes import WordHasher, ngrams
from llm_core.corpus.takedowns import Takedowns
from llm_core.kernels.arrays import Hashes

RUN = 13  # words; the usual n-gram of decontamination since GPT-3
TOUCHED = 8  # minimum of a sketch's 128 hashes in one piece of text, where the removed text itself is gone
SHORT_ID = (
    8  # characters; in running text a shorter id counts only as a whole JSON string, because short numbers are common
)
REMEMBERED = 1 << 19  # maximum number of texts whose verdict is kept, at about 120 bytes each
SAMPLE = 4096  # bytes of a piece by which it is judged to be text or not
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-fA-F]+|amp|lt|gt|quot|nbsp|apos);")
Verdict = tuple[str | None, list[int]]


class _Runs:
    """Runs of words of one length, and the owners of each."""

    def __init__(self, length: int, hashes: Hashes, owners: npt.NDArray[np.int64]) -> None:
        order = np.argsort(hashes, kind="stable")
        self.length, self.hashes, self.owners = length, hashes[order], owners[order]
        self._members = Members(self.hashes)

    def __call__(self, words: Hashes) -> npt.NDArray[np.int64]:
        """The owners, each once, of the runs in a text with these word hashes."""
        return np.unique(self.owners[self.held(words)])

    def held(self, words: Hashes) -> npt.NDArray[np.bool_]:
        """For each known run whether it is in a text with these word hashes."""
        runs = ngrams(words, self.length)
        return np.isin(self.hashes, runs[self._members.possible(runs)])


class Traces:
    """What is searched for: the tombstones, and the ids and texts of the documents that they name."""

    def __init__(self, tombstones: Takedowns) -> None:
        self.tombstones = tombstones
        self.ids: set[str] = set(tombstones.values["id"])
        self.dropped: set[str] = set()
        """ids of documents that a takedown removed, according to a ledger"""
        self._hasher = WordHasher(SEED)
        self._verdicts: dict[bytes, Verdict] = {}
        self._texts: dict[str, Hashes] = {}
        self._names: list[str] = []
        self._runs = _Runs(RUN, np.zeros(0, np.uint64), np.zeros(0, np.int64))
        self._id_runs: list[_Runs] = []
        self._id_names: list[str] = []
        self._id_patterns: list[re.Pattern[str]] = []

    def learn(self, identifier: str, text: str) -> None:
        """Add a document that a tombstone names: its id, and its text where it still exists."""
        self.ids.add(identifier)
        words = self._hasher(text)
        if len(words) >= RUN:
            known = self._texts.get(identifier, np.zeros(0, np.uint64))
            self._texts[identifier] = np.union1d(known, ngrams(words, RUN))

    def forget_common(self, texts: Iterable[str]) -> None:
        """Leave out the runs of words that also occur in documents that stay. Call it after the last `learn`."""
        self._names = list(self._texts)
        owners = np.repeat(np.arange(len(self._names)), [len(runs) for runs in self._texts.values()])
        self._runs = _Runs(RUN, np.concatenate([np.zeros(0, np.uint64), *self._texts.values()]), owners)
        if len(self._names):
            common = np.zeros(len(owners), np.bool_)
            for text in texts:
                common |= self._runs.held(self._hasher(text))
            self._runs = _Runs(RUN, self._runs.hashes[~common], self._runs.owners[~common])
        self._learn_ids()

    def in_document(self, text: bytes) -> bool:
        """Whether a tombstone names a document with this text (UTF-8), by its text or as an edited copy."""
        how, numbers = self.verdict(text)
        self.tombstones.matched.update(numbers)
        return how is not None

    def verdict(self, text: bytes) -> Verdict:
        """How tombstones name a text (UTF-8), and the numbers of those tombstones; each distinct text is judged
        once."""
        key = hashlib.blake2b(text, digest_size=16).digest()
        found = self._verdicts.get(key)
        if found is None:
            found = self.tombstones.match_text(text.decode("utf-8", "surrogatepass"))
            if len(self._verdicts) < REMEMBERED:
                self._verdicts[key] = found
        return found

    def in_text(self, data: bytes) -> set[str]:
        """Documents whose id, or a run of whose words, is in a piece of a file; none if the piece is no text."""
        if not is_text(data):
            return set()
        text = plain(data.decode("utf-8", "ignore"))
        words = self._hasher(text)
        found = {self._names[owner] for owner in self._runs(words).tolist()} if self._names else set()
        for number in {number for runs in self._id_runs for number in runs(words).tolist()}:
            if self._id_patterns[number].search(text):
                found.add(self._id_names[number])
        touched = map(self._name, self.tombstones.touched(shingles_of(words), TOUCHED))
        return found | {name for name in touched if name not in self._texts}

    def _learn_ids(self) -> None:
        """Turn ids into runs of words too, so that one search of a text finds all of them."""
        by_length: dict[int, list[tuple[np.uint64, int]]] = {}
        self._id_names = sorted(self.ids)
        self._id_patterns = []
        for number, name in enumerate(self._id_names):
            words = self._hasher(plain(name))
            body = re.escape(plain(name))
            whole = rf'"{body}"' if len(name) < SHORT_ID else rf"(?<![\w-]){body}(?![\w-])"
            self._id_patterns.append(re.compile(whole))
            if len(words):
                by_length.setdefault(len(words), []).append((ngrams(words, len(words))[0], number))
        self._id_runs = [
            _Runs(length, np.array([run for run, _ in rows], np.uint64), np.array([row for _, row in rows], np.int64))
            for length, rows in sorted(by_length.items())
        ]

    def _name(self, number: int) -> str:
        row = self.tombstones.rows[number]
        return str(row.get("id") or row.get("text_hash"))


def is_text(data: bytes) -> bool:
    """Whether a piece of a file is UTF-8 text, by a sample: weights and compressed data are mostly invalid UTF-8."""
    middle = max(len(data) // 2 - SAMPLE // 2, 0)
    sample = data[middle : middle + SAMPLE]
    return len(sample.decode("utf-8", "ignore").encode()) * 10 > len(sample) * 6


def plain(text: str) -> str:
    """`text` without the escapes of JSON strings and HTML, which would hide words."""
    if "\\" in text:
        text = text.replace("\\n", " ").replace("\\t", " ").replace("\\r", " ").replace('\\"', '"')
        if "\\u" in text:
            text = ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return html.unescape(text) if "&" in text and ENTITY.search(text) else text
