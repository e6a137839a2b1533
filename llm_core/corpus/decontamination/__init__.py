"""Documents that overlap with benchmark items are dropped."""
