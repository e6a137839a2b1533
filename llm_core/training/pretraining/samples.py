"""Text that a model writes: samples during training and the verb `generate`."""

from collections.abc import Sequence
from typing import Any

from llm_core.models.generation import Decoding, generate
from llm_core.models.loading import LoadedModel
from llm_core.models.prompts import encode_prompt


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
    """Prompts with their continuations, drawn from `seed`; temperature 0 takes the most likely token.

    An encoder-decoder does not continue its prompt: what it writes is given alone.

    Raises UserError for a prompt that leaves no room in the context; a continuation ends where the context does.
    """
    model = LoadedModel.of(network, tokenizer)
    ids = [encode_prompt(tokenizer, prompt, model.kind) for prompt in prompts]
    how = Decoding(new_tokens, temperature, top_k, seed=seed)
    found = generate(model, ids, how, batch_size=1)
    if model.kind == "encoder-decoder":
        return [one.text for one in found]
    return [
        str(tokenizer.decode(prompt + one.ids, skip_special_tokens=True))
        for prompt, one in zip(ids, found, strict=True)
    ]
