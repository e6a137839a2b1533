"""Finetuning: from a base model to a model for a task, by the field's usual methods.

TRL, PEFT and bitsandbytes implement the algorithms, on transformers models under DeepSpeed
configs; this room adds data, checks and measurements.
"""

import os

# TRL reports each new trainer to the hub; libraries read this variable when they are imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
