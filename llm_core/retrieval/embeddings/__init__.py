"""Word vectors: Word2Vec over the corpus or its tokens, and models that start from them."""
