"""Checkpoints of a running training: written completely or not at all, found again by a fingerprint.

They are in `.scratch/pretraining/FINGERPRINT`, which git and DVC ignore (DVC deletes a stage's
outputs before it runs it). The fingerprint covers everything that decides the weights (seed, model, data,
objective, schedule) and not where it runs (processes, ZeRO stage, micro-batch, threads). A
checkpoint counts once its `complete.json` is there, which is renamed into place last.
"""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.runtime import storage
from llm_core.runtime.digests import content_digest

COMPLETE = "complete.json"
BESIDE = "beside"  # folder in a checkpoint for what the run had written until then
LOCK = "lock"  # file in a run's folder that its main rank holds locked
WHERE_IT_RUNS = {
    "micro_batch", "zero_stage", "offload", "shard_bytes", "sequence_parallel", "extendable",
    "activation_checkpointing", "checkpoint_every", "checkpoints_kept", "profile_steps",
}  # fmt: skip


OF_THE_END = {"steps", "evaluate_tokens_final"}
"""Settings that decide nothing before the decay of a run; so do those of the decay itself."""
OF_THE_DECAY = {"decay_share", "final_share"}


def fingerprint(
    params: Params, tokens_digest: str, tokenizer_digest: str, precision: str, beginning: bool = False
) -> str:
    """Name of the run: a digest of everything that decides its weights; or, of its steps before the decay, which is
    that of every run with the same `beginning`. Raises UserError where the parent model is missing."""
    parent = params.pretraining.parent
    if parent and not Path(parent, "config.json").is_file():
        raise UserError(f"pretraining.parent {parent}: holds no model (no config.json)")
    pretraining = {key: value for key, value in params.pretraining.model_dump().items() if key not in WHERE_IT_RUNS}
    if beginning:
        pretraining = {key: value for key, value in pretraining.items() if key not in OF_THE_END}
        optimizer = pretraining["optimizer"].items()
        pretraining["optimizer"] = {key: value for key, value in optimizer if key not in OF_THE_DECAY}
    facts = {
        "seed": params.seed,
        "model": params.model.model_dump(),
        "pretraining": pretraining | {"precision": precision},
        "tokens": tokens_digest,
        "tokenizer": tokenizer_digest,
    }
    if params.pretraining.parent:  # by content, so that a changed parent does not resume from the old one's checkpoint
        facts["parent"] = content_digest(Path(params.pretraining.parent))
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Seen:
    """What one rank sees of a run's folder."""

    host: str
    lock: bool
    """whether the file is there that the main rank holds locked"""
    step: int
    """that of the newest checkpoint; 0 for none"""


def check_shared(folder: Path, seen: list[Seen]) -> None:
    """Raise UserError where ranks, in order, see different states of the run's folder."""
    if all(one.lock and one.step == seen[0].step for one in seen):
        return
    said = [
        f"process {rank} on {one.host} "
        + (("has step " + str(one.step) if one.step else "has no checkpoint") if one.lock else "does not see it")
        for rank, one in enumerate(seen)
    ]
    raise UserError(
        f"{folder}: all hosts must share this folder of the run's checkpoints, but {'; '.join(said[:8])}"
        f"{'; …' if len(said) > 8 else ''}; run on a file system that all hosts mount, and remove copies of the "
        "folder that are not on it"
    )


class Checkpoints:
    """The checkpoints of one run in `folder`; every rank calls the same methods."""

    def __init__(self, folder: Path, keep: int, main: bool) -> None:
        self.folder, self.keep, self.main = folder, keep, main

    def newest(self, most: int | None = None) -> tuple[Path, dict[str, Any]] | None:
        """The newest complete checkpoint, of at most `most` steps, and the content of its `complete.json`; None where
        there is none."""
        found = sorted(self.folder.glob(f"step*/{COMPLETE}"))
        if most is not None:
            found = [file for file in found if int(file.parent.name.removeprefix("step")) <= most]
        return (found[-1].parent, storage.read_json(found[-1])) if found else None

    def agreed(self, device: Any, most: int | None = None) -> tuple[Path, dict[str, Any]] | None:
        """As `newest`, the same on every rank; the ranks exchange what they found on `device`, the network's.

        Raises UserError, on every rank, where the hosts do not share the folder: a checkpoint has a part of each rank,
        and ranks that resumed at different steps would wait for each other for ever.
        """
        import torch.distributed as dist

        from llm_core.training.pretraining.engine import gathered

        found = self.newest(most)
        if dist.get_world_size() == 1:
            return found
        mine = Seen(socket.gethostname(), (self.folder / LOCK).exists(), found[1]["step"] if found else 0)
        check_shared(self.folder, [Seen(**json.loads(text)) for text in gathered(json.dumps(asdict(mine)), device)])
        return found

    def save(self, engine: Any, step: int, state: dict[str, Any], beside: Sequence[Path] = ()) -> None:
        """Write the engine's state and `state` (JSON) as the checkpoint after `step` steps, with copies of what there
        is of the files and folders `beside`."""
        from llm_core.training.pretraining.engine import barrier

        name = f"step{step:08d}"
        if self.main:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        barrier()
        engine.save_checkpoint(str(self.folder), tag=name, save_latest=False)
        barrier()
        if self.main:
            copy_all(beside, self.folder / name / BESIDE)
            storage.write_json(self.folder / name / COMPLETE, state)
            for old in sorted(self.folder.glob(f"step*/{COMPLETE}"))[: -self.keep]:
                old.unlink()
                shutil.rmtree(old.parent, ignore_errors=True)
            for converted in self.folder.glob("universal_*"):
                shutil.rmtree(converted, ignore_errors=True)

    def load(
        self, engine: Any, found: tuple[Path, dict[str, Any]], world_size: int, zero_stage: int, muon: bool = False
    ) -> None:
        """Restore the engine from a checkpoint, whatever world size or ZeRO stage wrote it.

        Raises UserError where DeepSpeed (0.19.8) cannot convert it: to or from ZeRO stage 0, and with the momentum of
        `muon`, which its universal format lacks.
        """
        from llm_core.training.pretraining.engine import barrier

        path, state = found
        same = (state["world_size"], state["zero_stage"]) == (world_size, zero_stage)
        if not same and (zero_stage == 0) != (state["zero_stage"] == 0):
            raise UserError(
                f"{path}: written at ZeRO stage {state['zero_stage']} and cannot go on at stage {zero_stage}; "
                "set pretraining.zero_stage as it was"
            )
        if not same and zero_stage and muon:
            raise UserError(
                f"{path}: written by {state['world_size']} process(es) at ZeRO stage {state['zero_stage']}; Muon's "
                "momentum cannot be divided anew, so set launch.pretraining.processes and pretraining.zero_stage as "
                f"they were, or remove {path.parent} to train from the beginning"
            )
        if same or zero_stage == 0:
            engine.load_checkpoint(str(self.folder), tag=path.name)
            return
        universal = path.parent / f"universal_{path.name}"  # a name that `step*` does not match
        if self.main and not (universal / COMPLETE).exists():
            _to_universal(path, universal)
            storage.write_json(universal / COMPLETE, state)
        barrier()
        engine._config.load_universal_checkpoint = True
        engine.load_checkpoint(str(self.folder), tag=universal.name)
        engine._config.load_universal_checkpoint = False

    def clear(self) -> None:
        """Remove the run's checkpoints, after it has ended."""
        if self.main:
            shutil.rmtree(self.folder, ignore_errors=True)


def copy_all(paths: Sequence[Path], folder: Path) -> None:
    """Copy files and folders into `folder`, in place of others of their names; what is not there is left out."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(folder / path.name, ignore_errors=True)
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns(".*"))
        elif path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.name)


def _to_universal(path: Path, universal: Path) -> None:
    shutil.rmtree(universal, ignore_errors=True)
    command = [
        sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state",
        "--input_folder", str(path), "--output_folder", str(universal),
        "--num_extract_workers", "1", "--num_merge_workers", "1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"{path}: cannot be converted to a universal checkpoint ({done.stderr.strip().splitlines()[-1]})"
        )
