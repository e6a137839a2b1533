"""Retrieval over the pipeline's own corpus: passages, a hybrid index, and answers with citations."""
