"""Sequences that several processes share (DeepSpeed Ulysses, Jacobs et al. 2023, arXiv:2309.14509).

Each of N processes holds a stretch of T / N tokens of every sequence, for everything but attention. Before attention
the processes exchange, so that each has all tokens of H / N heads, and after it they exchange back. The exchange is
DeepSpeed's `UlyssesSPAttentionHF`; what attends between the two is the kernel that the network would use anyway.
Held-out text and samples are computed by each process for itself, on whole sequences.
"""

from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.models.attention import NAME as BLOCKED
from llm_core.params.pretraining import Pretraining
from llm_core.training.pretraining.objectives import Inputs

KNOB = "pretraining.sequence_parallel"
NAME = "ulysses"
FAMILIES = ("llama", "mistral", "qwen3", "olmo2", "smollm3", "phi", "phi3", "gpt2", "opt")
"""Model types whose attention goes through transformers' interface, and whose layers all attend alike (tested)."""


def check(settings: Pretraining, network: Any, processes: int) -> None:
    """Raise UserError where sequences cannot be shared: the family, its heads, or the settings do not allow it."""
    size = settings.sequence_parallel
    if size == 1:
        return
    config = network.config
    heads = config.num_attention_heads
    kernel = config._attn_implementation
    groups = getattr(config, "num_key_value_heads", None) or heads
    window = getattr(config, "sliding_window", None) is not None
    lengths = {phase.sequence_length or settings.sequence_length for phase in settings.phases}
    odd = [length for length in sorted(lengths or {settings.sequence_length}) if length % size]
    wrong = {
        f"{processes} processes cannot form groups of {size}": processes % size,
        f"a {config.model_type} does not attend through the interface that exchanges heads "
        f"(these do: {', '.join(FAMILIES)})": config.model_type not in FAMILIES,
        "pretraining.document_mask needs a mask over the whole sequence": settings.document_mask,
        f"model.attention {kernel} needs a mask over the whole sequence; set sdpa or blocked": kernel == "eager",
        f"a sliding window needs model.attention {BLOCKED}": window and kernel != BLOCKED,
        "with model.dropout a sliding window needs a mask over the whole sequence": window
        and getattr(config, "attention_dropout", 0) > 0,
        f"{heads} heads cannot be divided among {size} processes": heads % size,
        f"{groups} key/value heads and {size} processes do not divide one another": groups % size and size % groups,
        f"sequences of {odd[:1]} tokens cannot be divided among {size} processes": odd,
    }
    if found := [what for what, is_so in wrong.items() if is_so]:
        raise UserError(f"{KNOB} {size}: {'; '.join(found)}")


def share(network: Any, size: int) -> Any:
    """Make the network's attention exchange heads among groups of `size` neighbouring processes.

    Returns what `deepspeed.initialize` takes as `mpu`, which names the groups; None for a size of 1.
    """
    if size == 1:
        return None
    from deepspeed.runtime.sequence_parallel import parallel_state_sp as state
    from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    if state._SEQUENCE_PARALLEL_GROUP is None:
        state.initialize_sequence_parallel(sequence_parallel_size=size)
    config = network.config
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    exchange = UlyssesSPAttentionHF(
        attn=AttentionInterface()[config._attn_implementation], batch_size=1, attn_head_count=heads,
        attn_head_size=width, kv_head_count=groups, num_hidden_layers=config.num_hidden_layers,
        process_group=state.get_sequence_parallel_group(), seq_length_is_variable=True, disable_in_eval=True,
    )  # fmt: skip

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **settings: Any) -> Any:
        if not module.training:
            return exchange(module, query, key, value, mask, **settings)
        rows, length = query.shape[0], query.shape[2]
        exchange.batch_size = rows  # it fixes the number of rows, which differs from phase to phase
        exchange.required_query_shape = torch.Size([1, rows, heads, width])
        exchange.required_key_value_shape = torch.Size([1, rows, groups, width])
        exchange.required_context_shape = torch.Size([1, rows, heads * width // size])
        settings.setdefault("position_ids", torch.zeros(rows, length, device=query.device))
        repeated = getattr(module, "num_key_value_groups", None)
        # Without a mask: causal over the whole sequence, where the mask given is that of the stretch.
        output, weights = exchange(module, query, key, value, None, **settings)
        if repeated is not None:
            module.num_key_value_groups = repeated  # it sets that of its heads, with which held-out text is not read
        return output.view(rows, length, heads, width), weights

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    network.set_attn_implementation(NAME)
    return state


def stretch(inputs: Inputs, size: int, rank: int) -> Inputs:
    """The tokens of `inputs` that the process `rank` of a group of `size` holds: [B, T] becomes [B, T / size]."""
    if size == 1:
        return inputs
    part = columns(inputs.input_ids.shape[1], size, rank)
    return Inputs(*(None if array is None else array[:, part] for array in inputs))


def columns(length: int, size: int, rank: int) -> slice:
    """Which of `length` tokens the process `rank` of a group of `size` holds."""
    return slice(rank * length // size, (rank + 1) * length // size)
