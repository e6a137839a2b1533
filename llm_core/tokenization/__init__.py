"""The tokenizer: training a byte-level BPE, and encoding documents into token shards."""
