"""The report card of a run, and the page that compares two evaluations."""
