"""Generation: what is generated does not depend on its neighbours, on streaming, or on what lies beyond the context."""

from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.errors import UserError
from llm_core.models.generation import Decoding, fit, generate, stream
from llm_core.models.loading import LoadedModel, load
from llm_core.models.lstm import LSTMConfig, LSTMForCausalLM
from tests.llm_core.training.finetuning import tiny

PROMPTS = [[0, 9, 8], [0, 20, 21, 22, 23, 24, 25, 26], [0, 30], [0, 40, 41, 42]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    folder = tmp_path_factory.mktemp("models")
    found = {name: load(tiny.model(name, folder / name), device="cpu") for name in ("gpt2", "llama", "t5")}
    torch.manual_seed(0)
    config = LSTMConfig(320, 32, 2, initializer_range=0.3, bos_token_id=0, eos_token_id=1, pad_token_id=2)
    found["lstm"] = LoadedModel.of(LSTMForCausalLM(config).eval(), tiny.tokenizer())
    found["llama"].network.config.max_position_embeddings = 64
    found["gpt2"].network.config.n_positions = 256
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "lstm"])
def test_a_batch_gives_what_each_prompt_gives_alone(name: str, models: dict[str, LoadedModel]) -> None:
    how = Decoding(12)
    together = [one.ids for one in generate(models[name], PROMPTS, how, batch_size=3)]
    assert together == [generate(models[name], [prompt], how)[0].ids for prompt in PROMPTS]
    assert together[0] == _by_hand(models[name], PROMPTS[0], 12)


def _by_hand(model: LoadedModel, prompt: list[int], count: int) -> list[int]:
    """The most likely token, again and again, without a cache."""
    encoded, written = list(prompt), [model.network.config.decoder_start_token_id] if model.kind != "decoder" else []
    new: list[int] = []
    while len(new) < count:
        inputs: dict[str, Any] = {"input_ids": torch.tensor([encoded + (new if model.kind == "decoder" else [])])}
        if model.kind != "decoder":
            inputs["decoder_input_ids"] = torch.tensor([written + new])
        token = int(model.network(**inputs).logits[0, -1].argmax())
        if token == model.tokenizer.eos_token_id:
            break
        new.append(token)
    return new


def test_a_sampled_answer_depends_on_its_own_seed_alone(models: dict[str, LoadedModel]) -> None:
    how = Decoding(12, temperature=1.0, seed=5)
    state = torch.random.get_rng_state()
    first = [one.ids for one in generate(models["llama"], PROMPTS, how)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert generate(models["llama"], PROMPTS[:2], how)[1].ids == first[1]
    assert "".join(stream(models["llama"], PROMPTS[0], how)) == generate(models["llama"], PROMPTS[:1], how)[0].text
    assert [one.ids for one in generate(models["llama"], PROMPTS, Decoding(12, 1.0, seed=6))] != first


def test_generation_stops_at_the_end_of_the_context(models: dict[str, LoadedModel]) -> None:
    model = models["gpt2"]  # learnt positions: one beyond the last is an index error
    long, short = [9] * 250, [9, 8, 7]
    close, far = generate(model, [long, short], Decoding(20))
    assert len(close.ids) == 6 and close.ended == "context"
    assert far.ids == generate(model, [short], Decoding(20))[0].ids and far.ended in ("length", "end")


def test_a_prompt_without_room_is_refused_or_cut_by_the_rule(models: dict[str, LoadedModel]) -> None:
    model = models["gpt2"]
    with pytest.raises(UserError, match="has 256 tokens; the model sees 256"):
        generate(model, [[9] * 256], Decoding(5))
    prompt = [0, *range(10, 310)]
    assert fit(model, prompt, Decoding(5, too_long="cut")) == [0, *range(60, 310)]  # 251 = 256 - 5, begin token kept
    assert fit(model, prompt[1:], Decoding(5, too_long="cut")) == list(range(59, 310))
    assert len(generate(model, [prompt], Decoding(5, too_long="cut"))[0].ids) <= 5
    with pytest.raises(UserError, match="no room"):
        generate(model, [[0, 1]], Decoding(256, too_long="cut"))
    with pytest.raises(UserError, match="empty"):
        generate(model, [[]], Decoding(5))


def test_an_answer_ends_before_a_stop_text(models: dict[str, LoadedModel]) -> None:
    model = models["llama"]
    whole = generate(model, PROMPTS[:1], Decoding(12))[0].text
    stop = whole[4:7]
    how = Decoding(12, stop=(stop,))
    cut = generate(model, PROMPTS[:1], how)[0]
    assert cut.text == whole[: whole.find(stop)] and cut.ended == "stop"
    assert "".join(stream(model, PROMPTS[0], how)) == cut.text


@pytest.mark.timeout(60)
def test_an_error_while_streaming_reaches_the_reader(models: dict[str, LoadedModel]) -> None:
    with pytest.raises(UserError, match="temperature is too small"):
        list(stream(models["llama"], PROMPTS[0], Decoding(5, temperature=1e-45)))


@pytest.mark.timeout(60)
def test_a_reader_that_leaves_ends_the_thread(models: dict[str, LoadedModel]) -> None:
    import threading

    pieces = stream(models["lstm"], PROMPTS[0], Decoding(100_000))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "generate"]


def test_the_folder_says_where_the_context_ends(tmp_path: Path) -> None:
    assert load(tiny.model("gpt2", tmp_path / "gpt2")).context == 256
    assert load(tiny.model("bloom", tmp_path / "bloom")).context is None
