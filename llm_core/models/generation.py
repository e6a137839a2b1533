"""The one place that generates text: greedy or sampled, in batches or streamed, never beyond the context.

A prompt and what is generated after it share the network's context. A prompt that leaves no room for a new token is
refused, or (`too_long="cut"`) keeps its begin token and its last tokens, so that `max_new_tokens` fit behind it.
Generation stops at the end of the context: positions beyond it were never trained and give noise.

Rows are sorted by length and padded on the left. A network that reads no attention mask (our LSTM) gets rows of equal
length only, because padding would change its state. With a seed, each prompt is sampled alone from `seed + number`, so
that an answer does not depend on the prompts beside it.
"""

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from llm_core.errors import UserError
from llm_core.models.batches import pad_masks, pad_rows
from llm_core.models.loading import LoadedModel

BATCH = 32  # prompts at once
Ended = Literal["end", "stop", "length", "context"]


@dataclass(frozen=True)
class Decoding:
    """How to continue a prompt. `temperature` 0 takes the most likely token; `top_k` 0 and `top_p` 1 cut nothing."""

    max_new_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    """None draws from torch's global random state"""
    stop: tuple[str, ...] = ()
    """texts before which an answer ends"""
    too_long: Literal["refuse", "cut"] = "refuse"


@dataclass(frozen=True)
class Generated:
    """One continuation: its text without control tokens, its token ids without the end token, and why it ended."""

    text: str
    ids: list[int]
    ended: Ended
    """`end`: the model wrote its end token; `stop`: a stop text; `length`: max_new_tokens; `context`: no room left"""


def generate(
    model: LoadedModel, prompts: Sequence[Sequence[int]], how: Decoding, batch_size: int = BATCH
) -> list[Generated]:
    """Continuations of `prompts` (token ids), in their order. Raises UserError for a prompt that has no room."""
    fitted = [fit(model, prompt, how) for prompt in prompts]
    rooms = [room(model, prompt, how.max_new_tokens) for prompt in fitted]
    alone = how.temperature > 0 and how.seed is not None
    padded = reads(model.network, "attention_mask")
    order = sorted(range(len(fitted)), key=lambda at: (-rooms[at], len(fitted[at])))
    found: dict[int, Generated] = {}
    while order:
        first = order[0]
        batch = [
            at
            for at in order[: 1 if alone else batch_size]
            if rooms[at] == rooms[first] and (padded or len(fitted[at]) == len(fitted[first]))
        ]
        order = order[len(batch) :]
        limited = rooms[first] < how.max_new_tokens
        with _seeded(model.device, None if how.seed is None or not alone else how.seed + first):
            rows = _run(model, [fitted[at] for at in batch], rooms[first], how)
        for at, row in zip(batch, rows, strict=True):
            found[at] = _read_back(model, row, how.stop, "context" if limited else "length")
    return [found[at] for at in range(len(fitted))]


def stream(model: LoadedModel, prompt: Sequence[int], how: Decoding) -> Iterator[str]:
    """The continuation of one prompt in pieces of text, as they are generated.

    An error in the generating thread is raised here; when the caller stops reading, the thread stops too.
    """
    from transformers import TextIteratorStreamer

    fitted = fit(model, prompt, how)
    streamer = TextIteratorStreamer(model.tokenizer, skip_prompt=model.kind == "decoder", skip_special_tokens=True)
    left, failed = threading.Event(), []

    def work() -> None:
        try:
            with _seeded(model.device, how.seed if how.temperature > 0 else None):
                _run(model, [fitted], room(model, fitted, how.max_new_tokens), how, streamer=streamer, left=left)
        except BaseException as error:
            failed.append(error)
        finally:
            streamer.end()  # wakes the reader, whatever happened

    thread = threading.Thread(target=work, name="generate", daemon=True)
    thread.start()
    try:
        yield from _until_stop(streamer, how.stop)
    finally:
        left.set()
        thread.join()
    if failed:
        raise failed[0]


def fit(model: LoadedModel, prompt: Sequence[int], how: Decoding) -> list[int]:
    """The prompt as the network will read it. Raises UserError where it has no room and may not be cut, or is empty."""
    ids, context = list(prompt), model.context
    if not ids:
        raise UserError("the prompt is empty; give the model at least one token to continue")
    if model.kind != "decoder" or context is None:
        return ids
    if how.too_long == "cut":
        keep = context - how.max_new_tokens
        if keep < 1:
            raise UserError(f"{how.max_new_tokens} new tokens leave no room for a prompt in a context of {context}")
        if len(ids) <= keep:
            return ids
        begin = ids[:1] if ids[0] == model.tokenizer.bos_token_id and keep > 1 else []
        return begin + ids[len(ids) - keep + len(begin) :]
    if len(ids) >= context:
        raise UserError(f"the prompt has {len(ids)} tokens; the model sees {context} in all, new tokens included")
    return ids


def room(model: LoadedModel, prompt: Sequence[int], wanted: int) -> int:
    """How many new tokens, at most `wanted`, fit behind the prompt."""
    if model.kind != "decoder" or model.context is None:
        return wanted
    return min(wanted, model.context - len(prompt))


def _run(
    model: LoadedModel, prompts: list[list[int]], new: int, how: Decoding, streamer: Any = None,
    left: threading.Event | None = None,
) -> list[list[int]]:  # fmt: skip
    """New token ids of each prompt, what follows an end token included."""
    from transformers import StoppingCriteriaList

    tokenizer, network = model.tokenizer, model.network
    options: dict[str, Any] = {"do_sample": how.temperature > 0}
    if how.temperature > 0:
        options |= {"temperature": how.temperature, "top_k": how.top_k, "top_p": how.top_p}
    if how.stop:
        options |= {"stop_strings": list(how.stop), "tokenizer": tokenizer}
    if left is not None:
        options["stopping_criteria"] = StoppingCriteriaList([_Left(left)])
    if reads(network, "attention_mask"):
        options["attention_mask"] = pad_masks(prompts, model.device, "left")
    if model.kind == "decoder":
        options["use_cache"] = reads(network, "past_key_values")
    try:
        with torch.no_grad():  # inference tensors could stay behind in a network that is trained on
            written = network.generate(
                input_ids=pad_rows(prompts, pad_id(tokenizer), model.device, "left"),
                max_new_tokens=new, streamer=streamer,
                pad_token_id=pad_id(tokenizer), eos_token_id=end_ids(model) or None, **options,
            )  # fmt: skip
    except RuntimeError as error:
        if "probability tensor" in str(error):
            raise UserError(
                "the model's probabilities are not numbers: the temperature is too small, or the weights are broken"
            ) from None
        raise
    skipped = max(map(len, prompts)) if model.kind == "decoder" else 1  # a decoder behind an encoder: its start token
    rows: list[list[int]] = written[:, skipped:].tolist()
    return rows


def _read_back(model: LoadedModel, row: list[int], stop: tuple[str, ...], otherwise: Ended) -> Generated:
    ends = end_ids(model)
    length = next((at for at, token in enumerate(row) if token in ends), len(row))
    ended: Ended = "end" if length < len(row) else otherwise
    text = model.tokenizer.decode(row[:length], skip_special_tokens=True)
    places = [place for word in stop if (place := text.find(word)) >= 0]
    if places:
        return Generated(text[: min(places)], row[:length], "stop")
    return Generated(text, row[:length], ended)


def end_ids(model: LoadedModel) -> list[int]:
    """Ids of the tokens that end an answer: the tokenizer's, and those of the model's generation config."""
    named = getattr(getattr(model.network, "generation_config", None), "eos_token_id", None)
    ids = [model.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    return list(dict.fromkeys(number for number in ids if number is not None))


def pad_id(tokenizer: Any) -> int:
    """The id to pad with; masked, so that any id would do where the tokenizer has none."""
    return next((one for one in (tokenizer.pad_token_id, tokenizer.eos_token_id) if one is not None), 0)


def reads(network: Any, argument: str) -> bool:
    """Whether a network takes this argument; our recurrent ones take neither a mask nor a cache of keys and values."""
    return argument in inspect.signature(network.forward).parameters


def _until_stop(pieces: Iterator[str], stop: tuple[str, ...]) -> Iterator[str]:
    """The pieces up to the first stop text; what may be the beginning of one is held back."""
    held = ""
    for piece in pieces:
        held += piece
        places = [place for word in stop if (place := held.find(word)) >= 0]
        if places:
            if min(places):
                yield held[: min(places)]
            return
        begun = max((n for word in stop for n in range(1, len(word)) if held.endswith(word[:n])), default=0)
        certain, held = held[: len(held) - begun], held[len(held) - begun :]
        if certain:
            yield certain
    if held:
        yield held


@contextmanager
def _seeded(device: torch.device, seed: int | None) -> Iterator[None]:
    """Random numbers from `seed` inside the block, and the global state as it was behind it; None changes nothing."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class _Left:
    """A stopping criterion of transformers: ends a generation after the next token once its event is set."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._event.is_set(), dtype=torch.bool, device=input_ids.device)
