"""Compiled code that several rooms share, one copy of each: words, hashes, hash tables, UTF-8."""
