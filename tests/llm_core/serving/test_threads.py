"""Generation on threads: an answer ends when its client is gone."""

import asyncio
import threading
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_a_cancelled_answer_ends_at_its_next_token(endless: Path, streamed: bool) -> None:
    """A stream too whose first part nobody has asked for: it has no generator yet that could notice."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from llm_core.serving.threads import ThreadedGeneration

    network, tokenizer = AutoModelForCausalLM.from_pretrained(endless), AutoTokenizer.from_pretrained(endless)
    begun = threading.Event()
    network.register_forward_hook(lambda *_: begun.set())
    config = GenerationConfig(do_sample=False, max_new_tokens=90_000)

    async def run() -> None:
        generation = ThreadedGeneration(1)
        inputs = tokenizer("The river", return_tensors="pt")

        async def stream() -> None:
            generation.generate_streaming(network, tokenizer, inputs, config, "1")
            await asyncio.sleep(3600)

        async def answer() -> None:
            await generation.generate_non_streaming(network, tokenizer, inputs, config, "1")

        whole = asyncio.ensure_future((stream if streamed else answer)())
        await asyncio.to_thread(begun.wait)
        whole.cancel()
        await asyncio.wait_for(generation.idle(), 120)
        short = GenerationConfig(do_sample=False, max_new_tokens=3)
        assert len((await generation.generate_non_streaming(network, tokenizer, inputs, short, "2"))[2]) == 3

    asyncio.run(run())
