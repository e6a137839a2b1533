"""Documents as people keep them (PDF, office files, e-books, wikitext), parsed in a process with limits."""
