"""A small agent: a model that may search the corpus, calculate and read the experiment tracker, within limits."""
