"""Every model to its documents, every document to its models."""
