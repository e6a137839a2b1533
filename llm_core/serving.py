"""An OpenAI-compatible endpoint for one model: transformers' own server, on loopback, ended cleanly.

`transformers serve` is kept by the library's makers, streams, and runs on a processor; nothing of our
own would be better kept. What is added: the model is checked first, the address is always loopback,
the hub is not asked, and the first Ctrl-C (or TERM) lets the answer in progress end, waits, and then stops.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType

from llm_core.errors import UserError
from llm_core.progress import log

GRACE_SECONDS = 20.0


def serve(model: Path, port: int, device: str) -> int:
    """Run the server until it is told to stop; its exit code (0 after a clean stop).

    Raises UserError: no model at `model`, the package openai is missing, the port is taken.
    """
    if not (model / "config.json").is_file() or not (model / "tokenizer.json").is_file():
        raise UserError(f"{model}: no model with a tokenizer in Hugging Face layout here")
    if importlib.util.find_spec("openai") is None:
        raise UserError("transformers' server needs the package openai (its types): pip install openai")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port}: {error.strerror}; choose another with --port") from None
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model.resolve())]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", device]
    server = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, start_new_session=True)
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        os.killpg(server.pid, signal.SIGKILL if told else signal.SIGINT)
        told = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    log(f"serve: {model.resolve()} at http://127.0.0.1:{port}/v1 (Ctrl-C ends it)")
    while True:
        try:
            code = server.wait(timeout=GRACE_SECONDS if told else 1)
            return 0 if told else code
        except subprocess.TimeoutExpired:
            if told:
                os.killpg(server.pid, signal.SIGKILL)
