"""How the files of one data package become documents: one module a corpus, `read(path) -> records`."""
