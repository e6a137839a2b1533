"""The trained network in Hugging Face layout, whatever ZeRO stage held its weights."""

from pathlib import Path
from typing import Any

import torch

from llm_core.models.loading import context_of


def weights(engine: Any, zero_stage: int) -> dict[str, Any]:
    """The network's whole weights on the main rank, fp32 on CPU; {} on the others. All ranks must call."""
    network = engine.module.network
    if zero_stage < 3:
        return {name: value.detach().cpu() for name, value in network.state_dict().items()}
    import deepspeed
    import torch.distributed as dist

    gathered: dict[str, Any] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        with deepspeed.zero.GatheredParameters([parameter]):
            if dist.get_rank() == 0:
                gathered[name] = parameter.detach().cpu().clone()
    if gathered:
        gathered |= {name: value.detach().cpu() for name, value in network.named_buffers() if name in _saved(network)}
    return gathered


def export(network: Any, state: dict[str, Any], tokenizer: Any, out: Path, continued: bool = False) -> None:
    """Write config, weights (safetensors), tokenizer and generation defaults (a parent's are kept) to `out`."""
    from transformers import GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    network.config.dtype = torch.float32
    network.config.use_cache = True
    if continued:
        _keep_valid(network)
    elif hasattr(network, "generation_config"):
        network.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=getattr(network.config, "decoder_start_token_id", None),
        )  # fmt: skip
    network.save_pretrained(out, state_dict={name: value.float() for name, value in state.items()})
    positions = context_of(network.config)
    if positions:
        tokenizer.model_max_length = positions
    tokenizer.save_pretrained(out)


def _keep_valid(network: Any) -> None:
    """Drop what transformers refuses to save of a parent's generation defaults: settings of sampling, switched off."""
    defaults = getattr(network, "generation_config", None)
    if defaults is not None and not defaults.do_sample:
        for name in ("temperature", "top_k", "top_p", "min_p", "typical_p"):
            setattr(defaults, name, None)


def _saved(network: Any) -> set[str]:
    return set(network.state_dict())
