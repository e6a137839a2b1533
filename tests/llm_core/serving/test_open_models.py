"""A model of another family, with a chat template that its family does not usually have, answers without its prompt."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
import torch
import transformers

from llm_core.models.family import Vocabulary
from llm_core.models.generation import Decoding, generate
from llm_core.models.loading import load
from llm_core.models.networks import build_config, build_network
from llm_core.models.prompts import encode_chat, encode_prompt, encode_turns
from llm_core.params.model import Model
from llm_core.params.serving import Serving
from llm_core.serving.server import guarded_app
from llm_core.training.finetuning.conversation import PLAIN_TEMPLATE
from llm_core.training.finetuning.use import Chat
from tests.llm_core.open_model_folders import make
from tests.llm_core.serving.conftest import ask, started
from tests.llm_core.training.finetuning import tiny

ASKED = [{"role": "user", "content": "The river runs"}]


def expected(folder: Path) -> str:
    """What transformers itself generates behind the prompt."""
    loaded = load(folder)
    ids = encode_chat(loaded.tokenizer, ASKED)
    with torch.no_grad():
        written = loaded.network.generate(input_ids=torch.tensor([ids]), max_new_tokens=12, do_sample=False)
    return str(loaded.tokenizer.decode(written[0][len(ids) :], skip_special_tokens=True))


@pytest.mark.parametrize("template", ["own", "plain"])
def test_the_answer_of_a_qwen_does_not_repeat_the_prompt(template: str, tmp_path: Path) -> None:
    folder, wanted, seed = tmp_path / "qwen3", "", 0
    while not wanted or not wanted.isprintable() or "\ufffd" in wanted:  # random bytes are seldom whole characters
        make("qwen3", folder, seed)
        if template == "plain":
            (folder / "chat_template.jinja").write_text(PLAIN_TEMPLATE)
        wanted, seed = expected(folder).strip(), seed + 1
    assert "".join(Chat(folder, max_new_tokens=12).say(ASKED[0]["content"])).strip() == wanted
    body = {"messages": ASKED, "max_tokens": 12, "temperature": 0}
    with started(folder) as (port, _):
        _, whole = ask(port, "/v1/chat/completions", body)
        _, streamed = ask(port, "/v1/chat/completions", body | {"stream": True})
    assert json.loads(whole)["choices"][0]["message"]["content"].strip() == wanted
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    pieces = [event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"]]
    assert "".join(pieces).strip() == wanted


def test_an_encoder_decoder_gives_its_answer_whole(tmp_path: Path) -> None:
    folder, wanted, seed = tmp_path / "t5", "", 0
    while not wanted or not wanted.isprintable():
        loaded = load(make("t5", folder, seed))
        ids = encode_turns(loaded.tokenizer, ASKED, "encoder-decoder")
        wanted, seed = generate(loaded, [ids], Decoding(8))[0].text, seed + 1
    assert ids[-1] == loaded.tokenizer.eos_token_id
    body = {"max_tokens": 8, "temperature": 0}
    with started(folder) as (port, _):
        _, chat = ask(port, "/v1/chat/completions", body | {"messages": ASKED})
        _, streamed = ask(port, "/v1/chat/completions", body | {"messages": ASKED, "stream": True})
        _, plain = ask(port, "/v1/completions", body | {"prompt": ASKED[0]["content"]})
    found = json.loads(chat)
    assert found["usage"]["prompt_tokens"] == len(ids)
    assert found["choices"][0]["message"]["content"].strip() == wanted.strip()
    assert json.loads(plain)["choices"][0]["text"].strip() == wanted.strip()
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    pieces = [event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"]]
    assert "".join(pieces).strip() == wanted.strip()


@pytest.mark.parametrize("name", ["lstm", "speedrun"])
def test_a_family_of_our_own_answers_as_it_generates(name: str, tmp_path: Path) -> None:
    sizes = Model(family=name, layers=1, width=32, heads=2)
    network = build_network(build_config(sizes, Vocabulary(320, bos=0, eos=1, pad=2), 128), "auto", 0)
    network.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    loaded = load(tmp_path)
    (wanted,) = generate(loaded, [encode_prompt(loaded.tokenizer, "spam ham")], Decoding(6))
    body = {"prompt": "spam ham", "max_tokens": 6, "temperature": 0}
    verbosity = transformers.utils.logging.get_verbosity()
    app = guarded_app(tmp_path, "cpu", Serving())
    transformers.utils.logging.set_verbosity(verbosity)

    async def answers() -> list[str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return [(await client.post("/v1/completions", json=body | {"stream": on})).text for on in (False, True)]

    whole, streamed = asyncio.run(answers())
    assert json.loads(whole)["choices"][0]["text"] == wanted.text
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert "".join(event["choices"][0].get("text", "") for event in events) == wanted.text.rstrip("\ufffd")
