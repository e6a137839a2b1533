"""Finetuning: from a base model to one that does a task, by every method of the field.

TRL, PEFT and bitsandbytes do the algorithms, on transformers models under DeepSpeed
configs; this room brings data, guards and measurements to them.
"""
