"""Generation on threads: an answer ends when its client is gone."""

import asyncio
import threading
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_cancelled_answer_ends_at_its_next_token(endless: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    from llm_core.serving.threads import ThreadedGeneration

    network, tokenizer = AutoModelForCausalLM.from_pretrained(endless), AutoTokenizer.from_pretrained(endless)
    begun = threading.Event()
    network.register_forward_hook(lambda *_: begun.set())
    config = GenerationConfig(do_sample=False, max_new_tokens=90_000)

    async def run() -> None:
        generation = ThreadedGeneration(1)
        inputs = tokenizer("The river", return_tensors="pt")
        answer = generation.generate_non_streaming(network, tokenizer, inputs, config, "1")
        whole = asyncio.ensure_future(answer)
        await asyncio.to_thread(begun.wait)
        whole.cancel()
        await asyncio.wait_for(generation.idle(), 120)
        short = GenerationConfig(do_sample=False, max_new_tokens=3)
        assert len((await generation.generate_non_streaming(network, tokenizer, inputs, short, "2"))[2]) == 3

    asyncio.run(run())
