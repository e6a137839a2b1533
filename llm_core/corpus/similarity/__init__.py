"""How alike texts are: words, shingles, MinHash, verified pairs and their clusters.

Deduplication, the held-out split and decontamination stand on the same arithmetic.
"""
