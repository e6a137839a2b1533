"""Cleaning: extraction, Unicode repair, language, quality rules, PII and block lists, with a verdict on every document.

A step judges or changes the documents of a `Batch`; `stage` runs the configured sequence of steps
over shards in parallel and writes documents, ledger, samples of what was dropped, and metrics.
"""
