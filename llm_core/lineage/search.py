"""Finding documents by what a person knows about them: an id, a URL, a domain, a hash, or words of the text."""

import re
from dataclasses import dataclass

import tantivy

from llm_core.corpus.takedowns import text_hash
from llm_core.errors import UserError
from llm_core.formats.urls import host_of, plain_url
from llm_core.lineage.index import Index

PHRASE_WORDS = 64  # maximum number of words of a quoted text that are searched for; more would not improve the result


@dataclass(frozen=True)
class Hit:
    """A document found, with tantivy's BM25 score where it was found by its words."""

    id: str
    score: float | None = None


def by_id(index: Index, identifier: str) -> list[Hit]:
    """The document with that id; else those that have it as their source's own key; else, from eight digits on, ids
    that begin with it."""
    if index.rows("documents", "id = ?", [identifier]):
        return [Hit(identifier)]
    # A scan: fetch computes ids of its own, and keeps those of the source in the metadata.
    own = "json_extract_string(metadata, '$.source_id') = ?"
    named = index.rows("documents", own, [identifier], "id")
    if named:
        return [Hit(row["id"]) for row in named]
    if len(identifier) < 8:
        return []
    found = index.rows("documents", "id >= ? AND id < ?", [identifier, identifier + "~"], "id")
    return [Hit(row["id"]) for row in found]


def by_url(index: Index, url: str) -> list[Hit]:
    """Documents fetched from that address, in whatever spelling (`formats.urls.plain_url`)."""
    return [Hit(row["id"]) for row in index.rows("urls", "url = ?", [plain_url(url)], "id")]


def by_domain(index: Index, domain: str) -> list[Hit]:
    """Documents of a domain and its subdomains, as tombstones name them: `formats.urls.domains_of`."""
    host = host_of(domain)
    named = index.rows("urls", "host IN (?, ?) OR ends_with(host, ?)", [host, host.removeprefix("www."), f".{host}"])
    return [Hit(name) for name in sorted({row["id"] for row in named})]


def by_text_hash(index: Index, digest: str) -> list[Hit]:
    """Documents whose text has that hash (`llm_core.corpus.takedowns.text_hash`)."""
    return [Hit(row["id"]) for row in index.rows("hashes", "text_hash = ?", [digest], "id")]


def by_text(index: Index, text: str, limit: int = 10) -> list[Hit]:
    """Documents by their text: the same text, else the quoted phrase, else the most similar by BM25.

    Raises UserError if `text` contains no word.
    """
    same = by_text_hash(index, text_hash(text))
    if same:
        return same
    words = _words(text)
    if not words:
        raise UserError("--text: contains no word to search for")
    searcher = index.text.searcher()
    schema = index.text.schema
    terms = [tantivy.Query.term_query(schema, "text", word) for word in dict.fromkeys(words[:PHRASE_WORDS])]
    queries = [tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])]
    if len(words) > 1:
        queries.insert(0, tantivy.Query.phrase_query(schema, "text", list(words[:PHRASE_WORDS])))
    for query in queries:
        hits = searcher.search(query, limit).hits
        if hits:
            return [Hit(searcher.doc(address)["id"][0], score) for score, address in hits]
    return []


def _words(text: str) -> list[str]:
    """Words as tantivy's default tokenizer splits them: alphanumeric runs, lower case, shorter than 40 bytes."""
    return [word for word in re.findall(r"[^\W_]+", text.lower()) if len(word.encode()) < 40]
