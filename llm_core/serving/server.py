"""An OpenAI-compatible endpoint for one model, on loopback, behind a guard, ended cleanly.

A language model is served by transformers' own handlers: they are maintained there, can stream, and run on a processor.
The additions are in `guard` (limits, a queue, one model), `generation` (OpenAI's meaning of each field), `stream` (stop
strings) and `threads` (several answers at once). A model that writes no text is served by `one_pass`. The address is
always loopback, and the hub is never asked. After Ctrl-C (or TERM) no new request is accepted; answers in progress have
`serving.grace_seconds` to end, the rest is cut off, and the exit code is 0.

The parts are imported from `transformers.cli.serving`, which is no public interface: the version is pinned in
constraints.txt, and a test starts the server and sends requests.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.models.family import kind_of
from llm_core.models.generation import reads
from llm_core.models.loading import (
    check_purpose,
    choose_device,
    context_of,
    load_network,
    load_tokenizer,
    read_config,
)
from llm_core.models.prompts import encode_chat, frame
from llm_core.models.token_counts import least_tokens
from llm_core.params.serving import Serving
from llm_core.runtime.progress import log
from llm_core.serving.generation import Generation
from llm_core.serving.guard import Guard
from llm_core.tracking import enabled
from llm_core.tracking.experiments import experiment_name
from llm_core.tracking.traces import Writer


def serve(model: Path, port: int, device: str, limits: Serving) -> int:
    """Run the server until a signal stops it; returns 0 after a clean stop.

    Raises UserError: no model at `model`, the port is taken.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: a port is a number from 1 to 65535")
    output_of(model)
    load_tokenizer(model)
    choose_device(device)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port}: {error.strerror}; choose another with --port") from None
    os.environ["HF_HUB_OFFLINE"] = "1"
    import uvicorn

    app = guarded_app(model, device, limits)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn raises the signal again after its shutdown
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning",
                            timeout_graceful_shutdown=limits.grace_seconds)  # fmt: skip
    server = uvicorn.Server(config)
    writer = _trace_writer(limits)
    app.trace = writer
    paths = ", ".join(app.posts)
    log(f"serve: {model.name} at http://127.0.0.1:{port}, {paths} (Ctrl-C ends it)")
    server.run()
    if writer:
        writer.close(limits.grace_seconds)
    log("serve: stopped")
    return 0 if server.started else 1


def _trace_writer(limits: Serving) -> Writer | None:
    """What writes the traces, where `serving.traces` asks for them and tracking is on."""
    if not limits.traces:
        return None
    if not enabled():
        log("serve: serving.traces has no effect, because tracking is off (LLM_CORE_TRACKING)")
        return None
    log(f"serve: requests and answers are recorded as traces in MLflow ({experiment_name('use')})")
    return Writer()


def output_of(model: Path) -> str:
    """What the model in a folder gives: `entities`, `answers`, `labels`, `vectors`, `text`; UserError for any other."""
    config = read_config(model)
    architecture = (getattr(config, "architectures", None) or [""])[0]
    if architecture.endswith("TokenClassification"):
        return "entities"
    if architecture.endswith("QuestionAnswering"):
        return "answers"
    if architecture.endswith(("SequenceClassification", "MultipleChoice")):
        return "labels"
    if kind_of(config) == "encoder":
        return "vectors"
    check_purpose(model, config, "language")
    return "text"


def guarded_app(model: Path, device: str, limits: Serving) -> Guard:
    """The app for what the model is. Raises UserError where the model does not load."""
    output = output_of(model)
    if output == "text":
        return generation_app(model, device, limits)
    from llm_core.serving import one_pass

    if output == "vectors":
        return one_pass.Embeddings(model, limits)
    heads: dict[str, Callable[[Path, str, Serving], Guard]] = {
        "entities": one_pass.Tagging,
        "answers": one_pass.Answering,
        "labels": one_pass.Classification,
    }
    return heads[output](model, device, limits)


def generation_app(model: Path, device: str, limits: Serving) -> Guard:
    """The app of a language model: transformers' handlers behind the guard.

    Raises UserError where the model does not load.
    """
    import transformers
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.completion import CompletionHandler
    from transformers.cli.serving.model_manager import ModelManager
    from transformers.cli.serving.response import ResponseHandler
    from transformers.cli.serving.server import build_server
    from transformers.cli.serving.systemone import SystemOneHandler
    from transformers.cli.serving.transcription import TranscriptionHandler
    from transformers.cli.serving.utils import GenerationState

    from llm_core.serving.threads import ThreadedGeneration

    class Manager(ModelManager):  # type: ignore[misc]
        """It loads a model as every verb does; transformers' own would look for our families in its own package."""

        def _load_model(self, *_: Any, **__: Any) -> Any:
            return load_network(model, dtype="auto", device=device)

        def _load_processor(self, *_: Any, **__: Any) -> Any:
            return load_tokenizer(model)

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    path = str(model.resolve())
    manager = Manager(device=device, dtype="auto", force_model=path)
    inner = manager.process_model_name(path)
    network, tokenizer = manager.load_model_and_processor(inner)
    if network.config.is_encoder_decoder:
        _write_whole_answers(network, tokenizer)
    elif not reads(network, "attention_mask"):
        _write_without_mask(network)
    generation = ThreadedGeneration(limits.concurrent)

    class State(GenerationState):  # type: ignore[misc]
        def get_manager(self, model_id: str, use_cb: bool = False) -> ThreadedGeneration:
            return generation

    state = State()
    app = build_server(
        manager,
        ChatCompletionHandler(manager, state),
        completion_handler=CompletionHandler(manager, state),
        response_handler=ResponseHandler(manager, state),
        transcription_handler=TranscriptionHandler(manager, state),
        systemone_handler=SystemOneHandler(manager, state),
        generation_state=state,
    )

    def count(body: dict[str, Any]) -> int:
        if "messages" in body:
            if not tokenizer.chat_template:
                raise ValueError("this model has no chat template; use /v1/completions")
            with lock:
                return len(encode_chat(tokenizer, body["messages"]))
        return len(tokenizer(body["prompt"])["input_ids"])

    least_of = least_tokens(tokenizer)

    def least(body: dict[str, Any]) -> int:
        if "messages" not in body:
            return least_of(body["prompt"])
        template = {"add_generation_prompt": True, "tokenize": False}
        return least_of(tokenizer.apply_chat_template(body["messages"], **template)) if tokenizer.chat_template else 0

    _parse_only_what_fits()
    lock = threading.RLock()
    tokenizer.__class__ = _data_as_text(type(tokenizer), lock)
    context = context_of(network.config) or 1 << 20
    defaults = network.generation_config.to_diff_dict()
    return Generation(app, model.resolve().name, inner, context, count, least, defaults, generation.idle, limits)


def _write_whole_answers(network: Any, tokenizer: Any) -> None:
    """Let transformers' handlers serve an encoder-decoder: it is asked as it was trained, and its answer is whole.

    The handlers take what follows the prompt in `generate`'s result as the answer; an encoder-decoder's result
    holds its start token and the answer alone, so that the answer's beginning was lost. A conversation is its text line
    by line, with the tokens that the tokenizer puts around a text, as `prompts.encode_turns` has it.
    """
    import torch

    write = network.generate

    def behind_prompt(*arguments: Any, **options: Any) -> Any:
        written, prompt = write(*arguments, **options), options["input_ids"]
        return torch.cat([prompt.to(written.device), written[:, 1:]], dim=1)

    network.generate = behind_prompt
    before, behind = frame(tokenizer)
    if behind[-1:] != [tokenizer.eos_token_id]:
        behind = [*behind, tokenizer.eos_token_id]
    begin, end = ("".join(tokenizer.convert_ids_to_tokens(ids)) for ids in (before, behind))
    lines = "{{ messages | map(attribute='content') | join('\\n') }}"
    tokenizer.chat_template = f"{{{{ {begin!r} }}}}{lines}{{{{ {end!r} }}}}"


def _write_without_mask(network: Any) -> None:
    """Let transformers' handlers serve a recurrent network: they give a mask of ones to every network."""
    write = network.generate

    def unmasked(*arguments: Any, attention_mask: Any = None, **options: Any) -> Any:
        return write(*arguments, **options, use_cache=reads(network, "past_key_values"))

    network.generate = unmasked


def _parse_only_what_fits() -> None:
    """Let transformers parse an answer by its table of model types only where the prompt is written in that format.

    The table (reasoning, tool calls) is chosen by the model's type alone. For a Qwen with another chat template the
    parser does not find where the answer begins, so the whole prompt was returned as a part of the answer.
    """
    from transformers.cli.serving import utils

    if hasattr(utils.get_response_template, "by_type"):
        return
    by_type = utils.get_response_template

    def fitting(processor: Any, model: Any) -> Any:
        template = by_type(processor, model)
        tokenizer = getattr(processor, "tokenizer", processor)
        if template is None or getattr(tokenizer, "response_template", None) is not None:
            return template
        anchors = template.get("start_anchor", [])
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": "a"}], add_generation_prompt=True, tokenize=False
        )
        return template if any(one in prompt for one in ([anchors] if isinstance(anchors, str) else anchors)) else None

    fitting.by_type = by_type  # type: ignore[attr-defined]
    utils.get_response_template = fitting


def _data_as_text(kind: type, lock: threading.RLock) -> type:
    """A tokenizer's class whose calls encode what clients send as data: names of control tokens are ordinary text.

    A fast tokenizer keeps how it treats such names as state, so that one call at a time holds `lock`.
    """

    class Plain(kind):  # type: ignore[misc]
        def apply_chat_template(self, conversation: Any, *arguments: Any, **options: Any) -> Any:
            options["sanitize_control_tokens"] = options.get("tokenize", True)
            return super().apply_chat_template(conversation, *arguments, **options)

        def __call__(self, text: Any = None, *arguments: Any, **options: Any) -> Any:
            with lock:
                if not options.get("sanitize_control_tokens"):
                    options["split_special_tokens"] = True
                return super().__call__(text, *arguments, **options)

    Plain.__name__ = kind.__name__
    return Plain
