"""The held-out split: whole documents, near-duplicates on one side."""
