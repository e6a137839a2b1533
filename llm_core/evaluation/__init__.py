"""Evaluation: scores with their errors and baselines, on items that are pinned by hash."""
