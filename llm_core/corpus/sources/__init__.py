"""Where text comes from: one room per kind of corpus, behind the protocol of `base`."""
