"""Pretraining, finetuning, scaling ladders and ablations."""
