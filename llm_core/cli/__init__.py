"""The command line: `llm-core VERB`, one verb a stage.

Every verb lives in a module of its own beside this file and is imported only when it
runs, so that `llm-core --help` is instant. A verb reads its inputs' paths, writes its
outputs' paths, and knows neither DVC nor Dagster. What a user can mend is told in one
line, with exit code 1.
"""

import difflib
import errno
import importlib
import logging
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from llm_core import __version__
from llm_core.errors import UserError
from llm_core.runtime import timings
from llm_core.runtime.redaction import redact

# verb -> (module of llm_core.cli that holds it as `app`, what --help says of it), in the order of the pipeline
VERBS: dict[str, tuple[str, str]] = {
    "fetch": ("fetch", "Download one source, verified and resumed, as documents."),
    "fetch-benchmarks": ("fetch_benchmarks", "Fetch the items of real benchmarks, pinned by hash."),
    "extract": ("extract", "Read WARC, WET and WAT files and extract the text of their pages."),
    "filter": ("filter", "Judge documents by one recipe of quality rules."),
    "train-quality": ("train_quality", "Train the classifier by which `clean` may judge quality."),
    "clean": ("clean", "Repair, extract and filter documents; the ledger names every drop."),
    "dedup": ("dedup", "Drop exact and near duplicates across corpora, every pair verified."),
    "dedup-text": ("dedup_text", "Take out paragraphs, lines or substrings that another document holds too."),
    "decontaminate": ("decontaminate", "Drop documents that overlap with the items of benchmarks."),
    "split": ("split", "Hold out whole documents of each source, near-duplicates on one side."),
    "mix": ("mix", "Weigh the sources of the training side, epochs capped, exact to the document."),
    "train-tokenizer": ("train_tokenizer", "Train a byte-level BPE tokenizer on documents."),
    "tokenize": ("tokenize", "Encode documents into memory-mapped Arrow token shards."),
    "pretrain": ("pretrain", "Train a language model with DeepSpeed ZeRO; resumes exactly."),
    "ablate": ("ablate", "Tell whether a change of recipe makes better models: several seeds, a negative control."),
    "scaling": ("scaling", "Train a ladder of small models and fit scaling laws to it."),
    "finetune-data": ("finetune_data", "Read, check and split the rows of one finetuning method."),
    "finetune": (
        "finetune",
        "Finetune a model: classify, instruct, reward, dpo, rlhf, contrastive; full, LoRA or QLoRA.",
    ),
    "evaluate": ("evaluate", "Score a model: bits per byte, benchmarks, answers; with errors and baselines."),
    "score": ("score", "Score files of translations, summaries or labels: BLEU, chrF, ROUGE, accuracy, F1."),
    "compare": ("compare", "Compare two evaluations on the same items: differences, intervals, what they can show."),
    "register": ("register", "Register an evaluated model as challenger, with the gate's decision."),
    "promote": ("promote", "Make a version champion if it passed the gate; judge it again, or list the versions."),
    "rollback": ("rollback", "Make the champion before this one champion again."),
    "report": ("report", "One page about the run: data, drops, training, scores, samples, time, versions, licences."),
    "summary": ("summary", "The last run in a few lines, and where to look."),
    "card": ("card", "Write the dataset card and model cards from the ledgers."),
    "generate": ("generate", "Continue a prompt with a pretrained model."),
    "classify": ("classify", "Label a text, with a calibrated confidence."),
    "chat": ("chat", "Talk with a finetuned model in a terminal."),
    "serve": ("serve", "Serve a model on loopback with an OpenAI-compatible endpoint."),
    "index": ("index", "Cut documents into passages and index them by words and by meaning."),
    "evidence-data": ("evidence_data", "Add rows with retrieved evidence to instruction data."),
    "encoder-data": ("encoder_data", "Make pairs of queries and passages, for `finetune contrastive`."),
    "search": ("search", "Find passages in an index: BM25, dense, or both fused."),
    "ask": ("ask", "Answer a question from an index, with citations; refuses where nothing relevant is found."),
    "evaluate-retrieval": ("evaluate_retrieval", "Measure search and answers on questions with known passages."),
    "agent": (
        "agent",
        "Let a model use tools (search, calculator, tracker) within limits; --tasks measures it.",
    ),
    "word2vec": ("word2vec", "Train word vectors (CBOW and skip-gram); neighbours, analogies, a plot."),
    "initialize-embeddings": ("initialize_embeddings", "Make an untrained model whose token vectors are Word2Vec's."),
    "trace": ("trace", "Tell a document's journey: source, verdicts, duplicates, training steps, models."),
    "documents": ("documents", "List the exact documents that a model was trained on."),
    "takedown": ("takedown", "Remove documents and their twins; show what that touches; prove that they left."),
    "diff": ("diff", "Compare two versions of the data or of a model: documents, tokens, settings, scores."),
    "plan": ("plan", "Print what is stale, why, and what bringing it up to date would cost; runs nothing."),
    "params": ("params", "Print every knob of params.yaml with its meaning, type and present value."),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `llm-core`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return
    if arguments[0] == "--version":
        print(f"llm-core {__version__}")
        return
    verb = arguments[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`llm-core --help` lists them"
        _stop(f"there is no verb '{verb}'; {hint}", code=2)
    started = time.monotonic()
    # It advises a package that fetches kernels from a hub, at every import, whether or not 4 bits are used.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    module = importlib.import_module(f"llm_core.cli.{VERBS[verb][0]}")
    outputs = importlib.import_module("llm_core.cli.outputs")  # imports typer, which `--help` does without
    failed = True
    try:
        outputs.guarded(module.app, verb)(args=arguments[1:], prog_name=f"llm-core {verb}")
        failed = False
    except SystemExit as end:
        failed = bool(end.code)
        raise
    except UserError as error:
        _stop(redact(str(error)))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        _stop(f"{error.strerror}{where}; nothing half-written was left under a final name")
    finally:
        timings.record(verb, arguments, started, failed)


def overview() -> str:
    """What `llm-core --help` prints."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {verb:<{width}}{text}" for verb, (_, text) in VERBS.items())
    return (
        "Usage: llm-core VERB [OPTIONS]\n\n"
        "From web-scale text to an evaluated language model, one verb a stage. Each verb works\n"
        "alone; `dvc repro` and Dagster run the same verbs as one graph.\n\n"
        f"Verbs, in the order of the pipeline (`llm-core VERB --help` explains one):\n{verbs}"
    )


def _stop(message: str, code: int = 1) -> NoReturn:
    print(f"llm-core: error: {message}", file=sys.stderr)
    sys.exit(code)
