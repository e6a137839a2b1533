"""Whether a change of recipe makes better models: control, treatment and negative control, over several seeds."""
