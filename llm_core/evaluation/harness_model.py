"""lm-eval-harness's model class, with control tokens as text and with batches that a stopped run need not repeat.

The batches are those that lm-eval makes of the same requests (longest first; answers of one token after the same
context share a forward pass), each given to lm-eval's own method by itself: scores are equal to the last digit.
"""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

from llm_core.evaluation.journal import Journal
from llm_core.models.batches import pad_masks, pad_rows
from llm_core.models.generation import pad_id
from llm_core.models.prompts import control_tokens, encode_rendered, encode_text, mark
from llm_core.runtime.progress import task as progress_task

Request = tuple[tuple[str, str], list[int], list[int]]
"""((context, continuation), token ids of each), as lm-eval encodes them"""


def harness_model(chat: bool, journal: Journal, scope: str = "") -> Any:
    """lm-eval's model class, in which names of control tokens in benchmark items are ordinary text.

    `scope` tells the values of this model in the journal from those of another.
    """
    from lm_eval.models.huggingface import HFLM

    class Plain(HFLM):  # type: ignore[misc]
        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            marked = [mark(self.tokenizer, message) for message in chat_history]
            return str(super().apply_chat_template(marked, add_generation_prompt))

        def tok_encode(self, string: str, add_special_tokens: Any = None, left_truncate_len: Any = None,
                       **rest: Any) -> list[int]:  # fmt: skip
            if chat:
                ids = encode_rendered(self.tokenizer, string)
            elif any(name in string for name in control_tokens(self.tokenizer)):
                special = add_special_tokens if add_special_tokens is not None else self.add_bos_token is not False
                ids = encode_text(self.tokenizer, string, special=bool(special))
            else:
                return list(super().tok_encode(string, add_special_tokens, left_truncate_len, **rest))
            return ids[-left_truncate_len:] if left_truncate_len else ids

        def tok_batch_encode(self, strings: list[str], padding_side: Literal["left", "right"] = "left",
                             left_truncate_len: int | None = None, truncation: bool = False) -> Any:  # fmt: skip
            rows = [self.tok_encode(string, left_truncate_len=left_truncate_len) for string in strings]
            pad = pad_id(self.tokenizer)
            return pad_rows(rows, pad, "cpu", padding_side), pad_masks(rows, "cpu", padding_side)  # lm-eval moves them

        def _loglikelihood_tokens(self, requests: list[Request], disable_tqdm: bool = False,
                                  override_bs: int | None = None) -> list[tuple[float, bool]]:  # fmt: skip
            def score(batch: list[Request]) -> list[tuple[float, bool]]:
                return list(super(Plain, self)._loglikelihood_tokens(batch, True, override_bs))

            batches = likelihood_batches(requests, self.batch_size, self.backend == "causal" and self.logits_cache)
            found = _answered(
                requests,
                batches,
                f"{scope}loglikelihood",
                lambda batch: [request[1:] for request in batch],
                score,
                journal,
            )
            return [(likelihood, greedy) for likelihood, greedy in found]

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            def write(batch: list[Any]) -> list[str]:
                import torch

                if batch[0].args[1].get("do_sample"):
                    torch.manual_seed(0)  # a batch draws the same whether those before it were computed or remembered
                return list(super(Plain, self).generate_until(batch, True))

            encoded = {request.args[0]: self.tok_encode(request.args[0]) for request in requests}
            lengths = [len(encoded[request.args[0]]) for request in requests]
            batches = generation_batches([request.args for request in requests], lengths, self.batch_size)
            return _answered(
                requests,
                batches,
                f"{scope}generate_until",
                lambda batch: [[encoded[request.args[0]], request.args[1]] for request in batch],
                write,
                journal,
            )

    return Plain


def with_begin_token(tokenizer: Any, asked: bool | None) -> tuple[Any, bool | None]:
    """(tokenizer, lm-eval's add_bos_token): prompts begin as training documents did.

    By default they do where the begin token is one of its own (it is not in GPT-2). A tokenizer that adds none
    by itself is copied and taught to; lm-eval's switch alone would do nothing with it.
    """
    if asked is False or (asked is None and tokenizer.bos_token_id in (None, tokenizer.eos_token_id)):
        return tokenizer, asked
    if tokenizer("a")["input_ids"][0] != tokenizer.bos_token_id:
        from tokenizers.processors import TemplateProcessing

        tokenizer = copy.deepcopy(tokenizer)
        bos = tokenizer.bos_token
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.bos_token_id)]
        )
    return tokenizer, True


def _answered(
    requests: list[Any],
    batches: Iterator[list[int]],
    what: str,
    given: Callable[[list[Any]], Any],
    compute: Callable[[list[Any]], list[Any]],
    journal: Journal,
) -> list[Any]:
    """The answers to all requests, batch by batch, from the journal or computed."""
    answers: list[Any] = [None] * len(requests)
    with progress_task("benchmarks", total=len(requests), unit="requests") as work:
        for places in batches:
            batch = [requests[place] for place in places]
            values = journal.value(what, given(batch), partial(compute, batch))
            for place, value in zip(places, values, strict=True):
                answers[place] = value
            work.update(len(batch))
    return answers


def likelihood_batches(requests: list[Request], size: int, shared: bool = True) -> Iterator[list[int]]:
    """Positions of the requests of each forward pass: `size` contexts, longest first, as lm-eval's collator has them.

    `shared`: requests that differ in the last token alone share a context; one pass, that of the longest
    continuation, scores them all.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, (_, context, continuation) in enumerate(requests):
        groups.setdefault(tuple(context + continuation[:-1]) if shared else (place,), []).append(place)

    def order(members: list[int]) -> tuple[int, tuple[int, ...]]:
        _, context, continuation = requests[max(members, key=lambda place: len(requests[place][2]))]
        return -len(context) - len(continuation), tuple(context + continuation)

    ordered = sorted(groups.values(), key=order)
    for start in range(0, len(ordered), size):
        yield [place for members in ordered[start : start + size] for place in members]


def generation_batches(
    requests: list[tuple[str, dict[str, Any]]], lengths: list[int], size: int
) -> Iterator[list[int]]:
    """The same for prompts that are continued: one kind of generation in a batch, longest prompts (in tokens) first."""
    groups: dict[str, list[int]] = {}
    for place, (_, options) in enumerate(requests):
        groups.setdefault(json.dumps(options, sort_keys=True, default=str), []).append(place)
    for members in groups.values():
        ordered = sorted(members, key=lambda place: (-lengths[place], requests[place][0]))
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]
