"""BPE training: word counts, merges, and the sample they are learnt from."""
