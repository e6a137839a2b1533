"""`llm-core agent`: a model with tools."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import MEANINGS, Index, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()
STAGES = ("pretrain", "evaluate")


@app.command()
def agent(
    question: Annotated[
        str | None, typer.Argument(help=f"{MEANINGS['question']} Left out where --questions is given.")
    ] = None,
    model: Annotated[Path, option("--model", "The model acts.")] = Path("data/models/instruction"),
    folder: Index = Path("data/index"),
    questions: Annotated[
        Path | None,
        option("--questions", "Measure the success rate on lookups of them, sums, and readings of the tracker."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Tasks of each kind.")] = 10,
    out: Annotated[Path | None, option("--out", "It gets the measure and the transcripts.")] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Let a model use tools (search, calculator, tracker) within the limits of `agent` in params.yaml.

    Transcripts are kept as MLflow traces. With --questions, the success rate on tasks with known answers is measured.
    """
    from llm_core.models.prompts import encode_text
    from llm_core.retrieval.agent import loop
    from llm_core.retrieval.agent.measure import measure
    from llm_core.retrieval.agent.tasks import build
    from llm_core.retrieval.agent.tools import calculator, corpus_search, tracker
    from llm_core.retrieval.index import Index as OpenIndex
    from llm_core.retrieval.llama_index import LocalModel
    from llm_core.retrieval.questions import read_questions
    from llm_core.retrieval.search import Search
    from llm_core.retrieval.traced import TracedReader
    from llm_core.tracking import enabled, lookup, traces
    from llm_core.tracking.prompts import of_tokenizer

    if (question is None) == (questions is None):
        raise UserError("give a question, or --questions FILE")
    params = read_params(params_file, overrides)
    limits = loop.Limits(params.agent.steps, params.agent.seconds, params.agent.tokens, params.agent.tool_calls)
    steps: list[traces.Step] = []
    reader = TracedReader(model, params.agent.tokens, params.agent.answer_tokens, steps.append)
    llm = LocalModel(reader)
    tools = {
        "search": corpus_search(Search(OpenIndex(folder), params.retrieval), params.agent.passages),
        "calculator": calculator,
        "tracker": tracker(lookup.last_metrics),
    }

    def attempt(text: str) -> loop.Transcript:
        steps.clear()
        root = traces.Step("AGENT", "agent", {"question": text, "model": str(model)})
        root.templates = {"agent": loop.TEMPLATE} | of_tokenizer(reader.tokenizer)
        found = loop.run(
            text, llm, tools, limits, lambda piece: len(encode_text(reader.tokenizer, piece)), steps.append
        )
        root.end({"answer": found.answer, "ended": found.ended, "tokens": found.tokens})
        if enabled():
            traces.keep(lambda: (root, steps))
        return found

    if questions is not None:
        metrics = {stage: lookup.last_metrics(stage) for stage in STAGES}
        scores = measure(build(read_questions(questions), metrics, count, params.seed), attempt, out)
        say_json(scores, indent=2)
        return
    assert question is not None
    found = attempt(question)
    for call in found.calls:
        shown = f"> {call['tool']}({json.dumps(call['input'], ensure_ascii=False)})\n{call['output']}"
        say(shown)
    say(printable(found.answer) or f"(no answer; the run ended: {found.ended})")
    if out is not None:
        from llm_core.runtime.storage import output_folder, write_json

        with output_folder(out) as partial:
            write_json(partial / "transcript.json", asdict(found))
