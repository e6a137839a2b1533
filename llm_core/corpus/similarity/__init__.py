"""How alike texts are: words, shingles, MinHash, verified pairs and their clusters.

Deduplication, the held-out split and decontamination use the same arithmetic.
"""
