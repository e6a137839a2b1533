"""Params that only say where and with how much of a machine the work runs.

No value here changes what a stage computes, so no stage of dvc.yaml lists this section: another number of threads, of
processes or of hosts, more memory or a Ray cluster makes nothing stale. Data stages write the same bytes; a training
with other processes or threads adds the same numbers in another order, so its weights differ by rounding. A param that
changes more stays with its stage (for example a finetune's `processes`, which decides how many rows a step has).
"""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from llm_core.errors import UserError
from llm_core.params.base import Section

Runner = Literal["local", "ray"]
STORAGE = re.compile(r"(?!https?:)[A-Za-z][A-Za-z0-9+.-]+://[^?#@]*[^?#@/]")


def check_storage_address(value: str) -> str:
    """`value`, if it is the address of a folder or a prefix; a ValueError for others, and for one with credentials."""
    if not STORAGE.fullmatch(value):
        raise ValueError(
            "give an address such as s3://BUCKET/PREFIX or file:///FOLDER, without credentials, which come from the "
            "environment (AWS_ACCESS_KEY_ID, …), and without a / at its end"
        )
    return value


class CleaningLaunch(Section):
    """Where `clean`, `filter` and `extract` run."""

    runner: Runner = "local"
    """Where documents are cleaned: in processes of this machine, or as tasks of the Ray cluster at `RAY_ADDRESS`."""
    workers: int = Field(0, ge=0)
    """Number of processes on this machine; 0 for one per core."""
    kept_mb: int = Field(0, ge=0)
    """Size in MiB of .scratch/pieces, where `extract`, `clean` and `filter` keep finished pieces of their input: the
    next run redoes only those of changed or new files. 0 keeps none."""


class BatchLaunch(Section):
    """Where a stage processes its documents batch by batch."""

    runner: Runner = "local"
    """Where the texts are processed: in threads of this machine, or as tasks of the Ray cluster at `RAY_ADDRESS`."""
    workers: int = Field(0, ge=0)
    """Number of threads on this machine; 0 for one per core."""
    memory_mb: int = Field(1024, ge=16)
    """Memory in MiB for batches and for comparing shingles. The program itself (130 MB) and the longest document are
    not counted."""


class TextDeduplicationLaunch(BatchLaunch):
    """Where `dedup-text` runs."""

    runner: Runner = "local"
    """Where paragraphs and lines are hashed: in threads of this machine, or as tasks of the Ray cluster at
    `RAY_ADDRESS`. Substrings are found on one machine only, and `ray` is refused."""
    memory_mb: int = Field(1024, ge=16)
    """Memory in MiB for comparing; substrings need 27 bytes for each byte of text, else they are refused."""


class PieceLaunch(Section):
    """Where a stage processes its documents piece by piece."""

    runner: Runner = "local"
    """Where documents are read and processed: in threads of this machine, or as tasks of the Ray cluster at
    `RAY_ADDRESS`."""
    workers: int = Field(0, ge=0)
    """Number of threads on this machine; 0 for one per core."""


class TrainingLaunch(Section):
    """Which processes train. They share one global batch, so their number does not change what is learned, but for
    rounding: for the same bytes on another machine, set `processes` and `threads`."""

    processes: int = Field(1, ge=0)
    """Number of processes (ranks) on this host. 0 takes one per GPU, or per core where there is none, as far as they
    can share the sequences of every step equally. If a step's batch is not set (`pretraining.batch_tokens` is null, and
    the phase sets none), it follows from the number of processes, and 0 takes `pretraining.sequence_parallel` of them,
    which is 1 by default. With a hostfile, 0 takes 1. Each process holds all weights, and at ZeRO stages 0 and 1 all
    gradients."""
    hostfile: str | None = None
    """For several hosts: a file with lines `HOST slots=N`, which is given to DeepSpeed's launcher."""
    launcher: Literal["deepspeed", "torchrun"] = "deepspeed"
    """The program that starts the processes of one host; a single process needs none."""
    threads: int = Field(0, ge=0)
    """Number of CPU threads per process; 0 divides the cores among the processes."""


class StorageLaunch(Section):
    """Where the shards of outputs are written. Readers follow the manifests that outputs contain, whatever is set."""

    address: str = ""
    """Address (`s3://BUCKET/PREFIX`, `file:///FOLDER`) to which the shards of documents, ledgers, tokens and passages
    are uploaded, with a manifest in their place; empty for local folders. Credentials come from the environment."""
    parallel: int = Field(8, ge=1)
    """Number of shards that are uploaded at the same time."""
    cache_mb: int = Field(10_240, ge=1)
    """Size in MiB of the folder of fetched shards, .scratch/objects. Shards in use are kept beyond it."""

    @field_validator("address")
    @classmethod
    def _check(cls, value: str) -> str:
        return check_storage_address(value) if value else value


class Launch(Section):
    """Where work runs: workers, memory, processes, hosts. No stage depends on it."""

    cleaning: CleaningLaunch = CleaningLaunch()
    deduplication: BatchLaunch = BatchLaunch()
    """Where `dedup` computes signatures, and its memory."""
    decontamination: BatchLaunch = BatchLaunch()
    """Where `decontaminate` looks for items, and its memory."""
    split: BatchLaunch = BatchLaunch()
    """Where `split` computes signatures, and its memory."""
    mix: BatchLaunch = BatchLaunch()
    """Where `mix` measures texts, and its memory."""
    text_deduplication: TextDeduplicationLaunch = TextDeduplicationLaunch()
    index: BatchLaunch = BatchLaunch()
    """Where `index` cuts passages and finds their words. On this machine it does so in one thread."""
    storage: StorageLaunch = StorageLaunch()
    """Object storage for outputs that are larger than a disk, or shared by machines."""
    tokenizer: PieceLaunch = PieceLaunch()
    """Where `train-tokenizer` counts, and measures its sample."""
    tokenization: PieceLaunch = PieceLaunch()
    """Where `tokenize` encodes."""
    pretraining: TrainingLaunch = TrainingLaunch()
    scaling: TrainingLaunch = TrainingLaunch(threads=1)
    """The trainings of `llm-core scaling`. Their models are so small that a second thread makes them slower."""
    ablation: TrainingLaunch = TrainingLaunch(threads=1)
    """The trainings of `llm-core ablate`. Their models are so small that a second thread makes them slower."""


MOVED = (
    {
        "cleaning.runner": "launch.cleaning.runner",
        "cleaning.workers": "launch.cleaning.workers",
        "deduplication.runner": "launch.deduplication.runner",
        "deduplication.workers": "launch.deduplication.workers",
        "deduplication.memory_mb": "launch.deduplication.memory_mb",
        "text_deduplication.memory_mb": "launch.text_deduplication.memory_mb",
    }
    | {
        f"{old}.{name}": f"launch.{new}.{name}"
        for old, new in (
            ("pretraining", "pretraining"),
            ("scaling.pretraining", "scaling"),
            ("ablation.pretraining", "ablation"),
        )
        for name in TrainingLaunch.model_fields
    }
    | {
        "finetuning.methods": "finetuning.runs",
        "finetuning.data": "finetuning.runs.NAME.data",
        "evaluation.gates": "finetuning.runs.NAME.gate",
    }
)
"""Keys that earlier versions had elsewhere, and where they are now."""


def refuse_moved(values: dict[str, Any]) -> None:
    """Raise UserError where `values`, the raw content of a params file, has a key at its earlier place."""
    for old, new in MOVED.items():
        *parents, last = old.split(".")
        section: Any = values
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if isinstance(section, dict) and last in section:
            why = " (no stage depends on the section launch)" if new.startswith("launch.") else ""
            raise UserError(f"'{old}' is now '{new}': move the value there{why}")
