"""Checks of document stages: licence, retention, drift, contamination, false duplicates.

Similarity is the plain Jaccard index of word 5-grams, computed here in full and apart from
the deduplication's own estimate, so that the one can contradict the other.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from llm_core.checks import Verdict
from llm_core.errors import UserError, require_known
from llm_core.formats.documents import document_files, read_batches
from llm_core.formats.ledger import read_ledger
from llm_core.formats.names import reason
from llm_core.kernels.words import pieces
from llm_core.params.checks import Checks

NGRAM = 5


def licence_present(folder: Path, params: Checks) -> Verdict:
    """Every document names its licence."""
    documents = missing = 0
    sources: Counter[str] = Counter()
    for file in document_files(folder):
        for batch in read_batches(file, ["id", "source", "license"]):
            without = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(batch["license"]), ""), True)
            documents += batch.num_rows
            missing += pc.sum(without).as_py() or 0
            sources.update(batch["source"].filter(without).to_pylist())
    if missing:
        named = ", ".join(f"{source} ({count})" for source, count in sources.most_common(5))
        return Verdict(
            False,
            f"{missing} of {documents} documents name no licence: {named}; set `license` of the source in params.yaml, "
            "or drop them",
            {"documents": documents, "without licence": missing},
        )
    return Verdict(True, f"all {documents} documents name their licence", {"documents": documents})


def retention(folder: Path, params: Checks, sources: Iterable[str] | None = None) -> Verdict:
    """Cleaning keeps at least the share of each source's bytes that params ask for.

    `sources` are the names of the project's sources; a share for a name that is none of them fails the check.
    """
    before: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for batch in read_ledger(folder / "ledger", ["source", "verdict", "reason", "bytes"]):
        for row in batch.to_pylist():
            size = row["bytes"] or 0
            before[row["source"]] += size
            if row["verdict"] == "dropped":
                reasons[row["reason"] or "unnamed"] += size
            else:
                kept[row["source"]] += size
    shares = {source: kept[source] / total if total else 0.0 for source, total in before.items()}
    low = {
        source: share
        for source, share in shares.items()
        if share < params.retention_min_by_source.get(source, params.retention_min)
    }
    figures: dict[str, Any] = {f"kept {source}": round(share, 4) for source, share in shares.items()}
    if sources is not None:
        try:
            require_known(params.retention_min_by_source, {*before, *sources}, "checks.retention_min_by_source")
        except UserError as error:
            return Verdict(False, str(error), figures)
    figures["bytes dropped by reason"] = dict(reasons.most_common(20))
    if low or not before:
        named = ", ".join(f"{source} keeps {share:.1%}" for source, share in low.items()) or "nothing came in"
        worst = f"; most was dropped as: {reason(reasons.most_common(1)[0][0])}" if reasons else ""
        return Verdict(
            False,
            f"{named}, less than checks.retention_min{worst}: read the ledger (`llm-core trace`), then loosen "
            "that rule or lower checks.retention_min_by_source",
            figures,
        )
    return Verdict(True, ", ".join(f"{source} keeps {share:.1%}" for source, share in shares.items()), figures)


def profile(folder: Path) -> dict[str, Any]:
    """Median length and the languages' shares of a folder of documents: what drift is measured on."""
    lengths: list[int] = []
    languages: Counter[str] = Counter()
    for file in document_files(folder):
        for batch in read_batches(file, ["text", "language"]):
            lengths.extend(pc.utf8_length(batch["text"]).to_pylist())
            languages.update(language or "unknown" for language in batch["language"].to_pylist())
    return {
        "documents": len(lengths),
        "median length": statistics.median(lengths) if lengths else 0,
        "languages": {name: count / len(lengths) for name, count in sorted(languages.items())},
    }


def drift(folder: Path, params: Checks, previous: Mapping[str, Any] | None, version: str = "") -> Verdict:
    """Length and languages stay near those of the last accepted version (`previous`, a profile)."""
    now = profile(folder)
    if not previous:
        return Verdict(True, f"first version: {now['documents']} documents, now the one to compare with", now)
    then = previous["median length"]
    change = abs(now["median length"] - then) / then if then else float(now["median length"] > 0)
    names = {*now["languages"], *previous["languages"]}
    moves = {name: now["languages"].get(name, 0) - previous["languages"].get(name, 0) for name in names}
    language, move = max(moves.items(), key=lambda item: abs(item[1]), default=("unknown", 0.0))
    found = []
    if change > params.length_drift_max:
        found.append(f"the median length went from {then:g} to {now['median length']:g} characters ({change:.0%})")
    if abs(move) > params.language_drift_max:
        found.append(f"the share of '{language}' moved by {move:+.0%}")
    if found and version not in params.accepted:
        return Verdict(
            False,
            f"{' and '.join(found)}: look at the text; where it is right, add {version or 'its version'} to "
            "checks.accepted in params.yaml and run this check again",
            now,
        )
    return Verdict(True, f"median length {change:+.0%}, largest language move {move:+.1%}", now)


def contamination(folder: Path, params: Checks) -> Verdict:
    """Not more of a source overlaps with benchmarks than params allow."""
    counts: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for batch in read_ledger(folder / "ledger", ["source", "verdict"]):
        for source, verdict in zip(batch["source"].to_pylist(), batch["verdict"].to_pylist(), strict=True):
            counts[source] += 1
            hits[source] += verdict == "dropped"
    shares = {source: hits[source] / count for source, count in counts.items()}
    figures = {f"contaminated {source}": round(share, 4) for source, share in shares.items()}
    high = {source: share for source, share in shares.items() if share > params.contamination_max}
    if high:
        named = ", ".join(f"{share:.1%} of {source}" for source, share in high.items())
        return Verdict(
            False,
            f"{named} overlaps with benchmark items, more than checks.contamination_max: leave the source out, "
            "or another benchmark should be chosen",
            figures,
        )
    return Verdict(
        True, f"{sum(hits.values())} of {sum(counts.values())} documents overlapped and were dropped", figures
    )


def false_duplicates(folder: Path, texts: list[Path], params: Checks) -> Verdict:
    """Of a sample of documents dropped as duplicates, few are unlike the document kept in their stead.

    `folder` is the deduplication's output, `texts` the folders that it read.
    """
    pairs: dict[str, str] = {}
    for batch in read_ledger(folder / "ledger", ["id", "verdict", "survivor_id"]):
        for row in batch.to_pylist():
            if row["verdict"] == "dropped" and row["survivor_id"]:
                pairs[row["id"]] = row["survivor_id"]
    sample = dict(sorted(pairs.items())[: params.sample])  # ids are hashes: their order is random, and stays
    found = _texts({*sample, *sample.values()}, texts)
    alike = {
        dropped: similarity(found[dropped], found[kept])
        for dropped, kept in sample.items()
        if dropped in found and kept in found
    }
    unlike = sorted((value, name) for name, value in alike.items() if value < params.similarity_min)
    share = len(unlike) / len(alike) if alike else 0.0
    figures = {"duplicates dropped": len(pairs), "looked at": len(alike), "false positives": round(share, 4)}
    if share > params.false_positives_max:
        return Verdict(
            False,
            f"{len(unlike)} of {len(alike)} documents dropped as duplicates are unlike what was kept (first: "
            f"{unlike[0][1]}, similarity {unlike[0][0]:.2f}): raise the threshold in `deduplication`",
            figures,
        )
    return Verdict(
        True, f"{len(unlike)} of {len(alike)} dropped duplicates looked at are unlike what was kept", figures
    )


def similarity(first: str, second: str) -> float:
    """Jaccard index of two texts' word 5-grams, in [0, 1]."""
    a, b = _shingles(first), _shingles(second)
    return len(a & b) / len(a | b) if a | b else 1.0


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = [text[first:last].lower() for first, last in pieces(text)]
    return {tuple(words[i : i + NGRAM]) for i in range(max(len(words) - NGRAM + 1, 1))}


def _texts(ids: set[str], folders: list[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in document_files(folders):
        for batch in read_batches(file, ["id", "text"]):
            for id, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if id in ids:
                    found[id] = text
    return found
