"""What travels between stages: documents, ledgers, token shards, and the files that carry them."""
