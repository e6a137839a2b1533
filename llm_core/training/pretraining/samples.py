"""Text that a model writes: samples during training and the verb `generate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


@torch.no_grad()
def sample(
    network: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    new_tokens: int,
    temperature: float = 0.8,
    top_k: int = 50,
    seed: int = 0,
) -> list[str]:
    """Continuations of `prompts`, drawn from `seed`; temperature 0 takes the likeliest token."""
    texts = []
    device = next(network.parameters()).device
    for number, prompt in enumerate(prompts):
        ids = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        inputs = torch.tensor([ids], device=device)
        choice = (
            {"do_sample": True, "temperature": temperature, "top_k": top_k} if temperature else {"do_sample": False}
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            written = network.generate(
                inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=new_tokens,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
                use_cache=network.config.model_type != "llm_core_lstm", **choice,
            )  # fmt: skip
        texts.append(tokenizer.decode(written[0, 1:], skip_special_tokens=True))
    return texts


def load(folder: Path) -> tuple[Any, Any]:
    """A causal model of ours and its tokenizer from a folder. Raises UserError where it is none."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from llm_core.errors import UserError
    from llm_core.models import lstm  # noqa: F401 - registers the class

    logging.disable_progress_bar()
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: holds no model (no config.json)")
    if AutoConfig.from_pretrained(folder).model_type in ("bert", "t5"):
        raise UserError(f"{folder}: a {AutoConfig.from_pretrained(folder).model_type} model does not continue text")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
