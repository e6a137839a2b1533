"""`llm-core serve`: an OpenAI-compatible endpoint on loopback, by transformers' own server."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app

app = verb_app()


@app.command()
def serve(
    model: Annotated[Path, typer.Option("--model", help="Folder of a model in Hugging Face layout.")],
    port: Annotated[int, typer.Option("--port", help="Port on 127.0.0.1.")] = 8000,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda:0, or auto.")] = "auto",
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")] = 512,
    max_seconds: Annotated[float, typer.Option("--max-seconds", min=1, help="Longest answer, in seconds.")] = 120,
    max_waiting: Annotated[int, typer.Option("--max-waiting", min=1, help="Requests held at once; more get 429.")] = 8,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Serve /v1/chat/completions, /v1/completions and /v1/models (streaming too) until Ctrl-C."""
    from llm_core.serving import serve as run
    from llm_core.serving_guard import Limits

    read_params(params_file, overrides)
    raise typer.Exit(run(model, port, device, Limits(max_new_tokens, max_seconds, max_waiting)))
