"""Model families: transformers classes built from params, and an LSTM of the same interface."""
