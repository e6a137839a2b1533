"""A training set mixed from sources by weight."""
