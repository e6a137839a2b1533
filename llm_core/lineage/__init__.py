"""From each model to its documents, and from each document to the models trained on it."""
