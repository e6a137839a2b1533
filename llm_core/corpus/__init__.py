"""The data path, as a document walks it: sources, cleaning, deduplication, decontamination, split, mix."""
