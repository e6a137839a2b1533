"""Dedup within texts: paragraphs, lines or substrings that occur in several documents stay in one of them."""
