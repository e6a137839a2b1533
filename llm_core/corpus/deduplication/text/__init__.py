"""Dedup within texts: paragraphs, lines or substrings that stand in several documents stay in one of them."""
