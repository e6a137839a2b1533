"""The params.yaml of somebody's own corpus, tasks and models, as `llm-core init` writes it.

It names nothing of the project's demonstration corpus. Sizes follow from the documents' bytes, so that a first run on a
laptop takes minutes; the comments say what to raise. A preset replaces them (model, tokenizer, pretraining, launch, …).
With an open model the preset's sizes give way: the architecture is the parent's, and what a preset says of a training
from random weights (its horizon, its learning rate) is wrong for a continued one.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.params import presets
from llm_core.params import starting_texts as texts
from llm_core.params.evaluation import OwnBenchmark
from llm_core.params.reading import keeping_comments, parse, read_values, to_text

NEVER = ("preset", "sources", "cleaning", "finetuning", "split", "mix", "benchmarks", "text_deduplication")
"""Sections of a preset that belong to its own corpus."""
OF_A_NEW_MODEL = (
    "parent", "steps", "phases", "sequence_length", "batch_tokens", "optimizer", "checkpoint_every", "evaluate_every",
)  # fmt: skip
"""What a preset says in `pretraining` of a model that is trained from random weights: its length, rate and horizon."""
DERIVED = ("model", "pretraining")
"""Sections in which null means derived, as it does where the knob is left out."""


@dataclass(frozen=True)
class Finetune:
    """A finetune that was asked for: `NAME=METHOD:FILE`, and the columns of the file by the method's names."""

    name: str
    method: str
    path: str
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Finetune":
        """Raises UserError where `text` is no NAME=METHOD:FILE."""
        name, equals, rest = text.partition("=")
        method, colon, path = rest.partition(":")
        if not (equals and colon and name and method and path):
            raise UserError(f"--finetune {text}: write NAME=METHOD:FILE, for example mood=classification:reviews.csv")
        return cls(name, method, path)


def starting_params(
    documents: Sequence[str],
    license: str,
    finetunes: Sequence[Finetune] = (),
    model: str | None = None,
    preset: Path | None = None,
    benchmarks: Mapping[str, OwnBenchmark] | None = None,
) -> str:
    """The text of a params.yaml for `documents` (files and folders), finetunes, an open model's folder, own benchmarks.

    Raises UserError: nothing at a path, no model in the model's folder, two finetunes of one name.
    """
    for path in [
        *documents,
        *(one.path for one in finetunes),
        *([model] if model else []),
    ]:
        if not Path(path).expanduser().exists():
            raise UserError(f"{path}: no such file or folder")
    if model and not (Path(model).expanduser() / "config.json").is_file():
        raise UserError(f"--model {model}: is no model's folder (it has no config.json)")
    names = [one.name for one in finetunes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--finetune {twice[0]}: two finetunes have this name")
    size = sum(map(_bytes, documents))
    changes = _changes(preset, model is not None) if preset else {}
    parts = [
        texts.HEAD.format(documents=", ".join(path if path.isprintable() else _quoted(path) for path in documents)),
        _sources(documents, license),
        texts.CLEANING,
        _open_model(model)
        if model
        else texts.OWN_MODEL.format(**_sizes(size), about=texts.OF_PRESET if preset else texts.OF_CORPUS),
        _pretraining(size, model, preset),
        _evaluation(benchmarks or {}, _config(model) if model else {}),
        _finetuning(finetunes, _length(model)),
        _retrieval(finetunes),
    ]
    text = "\n".join(parts)
    return _with_changes(text, changes) if preset else text


def _bytes(path: str) -> int:
    place = Path(path).expanduser()
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def slug(path: str) -> str:
    """A name of letters, digits and - made of a path's last part: `My Notes.pdf` is `my-notes`, `Größe` `grosse`."""
    plain = unicodedata.normalize("NFKD", Path(path).expanduser().absolute().name.split(".")[0].casefold())
    return re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode().lower()).strip("-") or "documents"


def _quoted(value: Any) -> str:
    """A value on one line of YAML; what no terminal shows, and some of which YAML refuses, as escapes."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _key(name: str) -> str:
    """A name as a key, or in a list, in YAML: in quotes where it would be read as a number, a null or anything else."""
    return name if re.fullmatch(r"[A-Za-z][\w-]*", name) and parse(name, name) == name else _quoted(name)


def _sources(documents: Sequence[str], license: str) -> str:
    lines = ["sources: # one entry for each folder or file; `llm-core params sources` lists the other kinds"]
    seen: set[str] = set()
    for path in documents:
        name, number = slug(path), 2
        while name in seen:
            name, number = f"{slug(path)}-{number}", number + 1
        seen.add(name)
        lines.append(f"  {_key(name)}:")
        lines.append("    kind: files")
        lines.append(f"    paths: [{_quoted(path)}]")
        lines.append(f"    license: {_quoted(license)} # of the texts; cards and reports name it")
    return "\n".join(lines) + "\n"


def _sizes(size: int) -> dict[str, int]:
    """Vocabulary and width that a corpus of `size` bytes can fill."""
    if size > 4 << 20:
        return {"vocab_size": 4096, "layers": 4, "width": 256, "heads": 4, "feed_forward": 704}
    if size > 1 << 20:
        return {"vocab_size": 2048, "layers": 4, "width": 192, "heads": 3, "feed_forward": 512}
    return {"vocab_size": 1024, "layers": 2, "width": 128, "heads": 2, "feed_forward": 352}


def _pretraining(size: int, model: str | None, preset: Path | None) -> str:
    """The section; with a model, that of a continued training on the machine of the preset.

    Its rows are as long as the preset's, as far as the parent has positions. Its batch is the preset's, or else one
    pass of `micro_batch` rows in each process, and 4,096 tokens at least. `steps` are counted in such batches.
    """
    length, micro_batch, batch, most = _length(model), 8, 4096, 320
    if preset and model:
        from llm_core.params import validate

        told = {key: value for key, value in read_values(preset).items() if key in ("pretraining", "launch")}
        params = validate(told, preset)
        said, processes = params.pretraining, max(params.launch.pretraining.processes, 1)
        given = said.model_fields_set
        length = _length(model, said.sequence_length if "sequence_length" in given else 256)
        micro_batch = said.micro_batch
        once = length * processes
        batch = max(round((said.batch_tokens or max(batch, micro_batch * once)) / once), 1) * once
        most = said.steps or most
    tokens = max(size / 3.5, 1)  # of a byte-level BPE of this size, on text of most languages
    steps = min(most, max(40, math.ceil(4 * tokens / batch)))
    about = "" if preset and not model else f" # about four passes over the corpus, at most {most} steps"
    parent = (
        f"  parent: data/models/{slug(model)} # its weights and architecture; training continues from them\n"
        if model
        else ""
    )
    rate = 0.0003 if model else 0.01
    optimizer = "adamw" if model else "muon"
    return f"""pretraining:
{parent}  steps: {steps}{about}
  sequence_length: {length}
  batch_tokens: {batch}
  micro_batch: {micro_batch}
  optimizer: {{name: {optimizer}, learning_rate: {rate}, warmup_steps: 20}}
  checkpoint_every: 50
  evaluate_every: 100
  sample_prompts: []
"""


def _config(model: str) -> dict[str, Any]:
    """The config of a model's folder; of one that reads images too, that of its text."""
    try:
        config = json.loads((Path(model).expanduser() / "config.json").read_text(encoding="utf-8"))
        return dict(config | config.get("text_config", {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"--model {model}: its config.json is no model's ({error})") from None


def _length(model: str | None, wanted: int = 256) -> int:
    """Tokens of a row: `wanted`, or as many as a model has positions for, rounded down to a power of two."""
    config = _config(model) if model else {}
    positions = config.get("max_position_embeddings") or config.get("n_positions") or wanted
    return min(wanted, 1 << (int(positions).bit_length() - 1))


def _open_model(model: str) -> str:
    name = slug(model)
    return f"""open_models:
  {name}: {{from: {_quoted(model)}}}

tokenizer:
  from: data/models/{name} # the model's own tokenizer, unchanged

model: {{}} # the parent's architecture
"""


def _evaluation(benchmarks: Mapping[str, OwnBenchmark], config: Mapping[str, Any]) -> str:
    """The section, for a base model with the config of its parent: what is scored, and what its gate compares.

    An encoder fills gaps and continues no text. An encoder-decoder answers, but has no bits per byte of running text.
    """
    encoder = any("MaskedLM" in str(name) for name in config.get("architectures") or [])
    lines = ["    own: # scored by being named in `tasks` below; decontaminated against in any case"]
    for name, own in benchmarks.items():
        values = own.model_dump(exclude_defaults=True)
        lines.append(f"      {_key(name)}: {_quoted(values)}")
    if not benchmarks:
        lines = ["    own: {} # NAME: {path: FILE, kind: multiple_choice} of questions with choices and the answer"]
    models = (
        "[] # base is an encoder, which continues no text; the finetunes below are evaluated"
        if encoder
        else "[base] # beside them the finetunes below"
    )
    tasks = [*map(_key, benchmarks), *texts.TASKS]
    return texts.EVALUATION.format(
        own="\n".join(lines),
        tasks=", ".join(tasks),
        fetched=", ".join(texts.TASKS),
        models=models,
        metric=tasks[0] if config.get("is_encoder_decoder") else "bits_per_byte",
    )


def _finetuning(finetunes: Sequence[Finetune], length: int) -> str:
    if not finetunes:
        return texts.NO_FINETUNES
    lines = ["finetuning:", "  runs: # each is a chain of stages: rows, model, evaluation, registry"]
    for one in finetunes:
        data = {"path": one.path, **({"columns": dict(one.columns)} if one.columns else {})}
        lines += [
            f"    {_key(one.name)}:",
            f"      method: {one.method}",
            "      parent: base",
            f"      data: {_quoted(data)}",
            "      max_steps: 120",
            f"      max_length: {length}",
        ]
    return "\n".join([*lines, "  on_demand: {}", "  datasets: {}", ""])


def _retrieval(finetunes: Sequence[Finetune]) -> str:
    """The section; the test rows of each finetune that answers are questions on which search can be measured."""
    asked = [one.name for one in finetunes if one.method == "instruction"]
    lines = [
        f"    {_key(name)}: {_quoted({'path': f'data/finetuning/{name}/test.jsonl', 'model': name})}" for name in asked
    ]
    told = (
        "  questions: # what search and answers are measured on: a file, and the model below data/models that answers"
    )
    none = "  questions: {} # NAME: {path: FILE of `question, answers`, model: base}: search and answers measured on it"
    return texts.RETRIEVAL.format(questions="\n".join([told, *lines]) if lines else none)


def _changes(preset: Path, opened: bool) -> dict[str, Any]:
    """What a preset says that is not about a corpus; with an open model, nor about a model trained from nothing."""
    kept = {*NEVER, *(("model", "tokenizer") if opened else ())}
    changes: dict[str, Any] = {key: value for key, value in read_values(preset).items() if key not in kept}
    if isinstance(changes.get("evaluation"), dict):
        changes["evaluation"] = {key: value for key, value in changes["evaluation"].items() if key == "limit"}
    from llm_core.params import validate

    validate({section: changes[section] for section in DERIVED if section in changes}, preset)  # with its nulls
    if opened and isinstance(changes.get("pretraining"), dict):
        changes["pretraining"] = {k: v for k, v in changes["pretraining"].items() if k not in OF_A_NEW_MODEL}
    return changes


def _with_changes(text: str, changes: dict[str, Any]) -> str:
    """`text` with the sections of a preset merged into it."""
    yaml = keeping_comments()
    values = presets.merged(yaml.load(text), changes)
    for section in DERIVED:
        _drop_nulls(values.get(section))
    return to_text(yaml, values)


def _drop_nulls(values: Any) -> None:
    for key, value in list(values.items()) if isinstance(values, dict) else ():
        if value is None:
            del values[key]
        _drop_nulls(value)
