"""Deduplication: exact, by URL, and near-duplicates by verified MinHash, across all corpora."""
