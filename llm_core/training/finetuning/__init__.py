"""Finetuning: from a base model to one that does a task, by every method of the field.

TRL, PEFT and bitsandbytes do the algorithms, on transformers models under DeepSpeed
configs; this room brings data, guards and measurements to them.
"""

import os

# TRL reports each trainer it makes to the hub; libraries read this when they are imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
