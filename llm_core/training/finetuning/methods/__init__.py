"""The finetuning methods, one module each.

A module of this package defines `METHOD`, a `llm_core.training.finetuning.method.Method` that describes the method
whole. The modules are imported whenever params.yaml is read, so they import torch, transformers and TRL inside their
functions only.
"""
