"""The common parts of every method's training: TRL's arguments, DeepSpeed's config, checkpoints, log.

Checkpoints are in the job's scratch folder, not in the stage's output (DVC clears outputs before a run). A checkpoint
counts only with its `complete` marker, written after the last file, so a kill in the middle of writing costs one
checkpoint.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.models.family import Kind
from llm_core.params.finetuning import Training
from llm_core.runtime.progress import log, task
from llm_core.tracking.runs import Run
from llm_core.training.deepspeed_ops import ensure_ops, unname_buffer
from llm_core.training.finetuning.models import add_adapter, count_parameters, load, resolve_precision
from llm_core.training.finetuning.order import rows_of_steps
from llm_core.training.finetuning.registry import method as find_method
from llm_core.training.processes import single_process

Row = dict[str, Any]
Loss = Callable[[Any, dict[str, Any]], Any]  # of a model and its inputs, a scalar tensor
COMPLETE = "complete"  # marker in a checkpoint's folder


@dataclass
class Job:
    """One finetuning: its start, its data, and where it writes."""

    method: str
    base: Path  # model folder, tokenizer with a padding token inside
    kind: Kind
    adapter: str  # full, lora or qlora: the adapter that runs
    rows: dict[str, list[Row]]
    params: Any  # the run: the knobs of its method
    seed: int
    scratch: Path
    run: Run
    tokenizer: Any

    @property
    def main(self) -> bool:
        """Whether this process is the one that measures and writes."""
        return os.environ.get("RANK", "0") == "0"

    def load_base(self, device: Any = None) -> Any:
        """The base model with the method's head, before adapters; fresh weights (a head) follow the seed.

        For use it is put on `device`; for training (None) the trainer moves it.
        """
        import transformers

        room = find_method(self.method)
        transformers.set_seed(self.seed)
        model = load(
            self.base, room.head, self.kind, room.labels(self), four_bit=self.adapter == "qlora", device=device
        )
        model.config.pad_token_id = self.tokenizer.pad_token_id
        return model

    def adapt(self, model: Any) -> Any:
        """`model` with this job's adapters, or as it is."""
        import transformers

        transformers.set_seed(self.seed)
        if self.adapter == "full":
            return model
        return add_adapter(model, self.params, find_method(self.method).head.task_type(self.kind))

    @property
    def trained(self) -> Path:
        """Folder to which `train` saves the trained model, or the adapter alone."""
        return self.scratch / "trained"


def rows_of_step(params: Training) -> int:
    """Number of rows that an optimizer step reads, on all processes."""
    return params.micro_batch * params.gradient_accumulation * int(os.environ.get("WORLD_SIZE", "1"))


def arguments(job: Job, rows: int, **more: Any) -> dict[str, Any]:
    """Keyword arguments of transformers' TrainingArguments and of TRL's configs for `rows` training rows."""
    params: Training = job.params
    each = math.ceil(rows / rows_of_step(params))  # steps of a pass, whose last one may have fewer rows
    steps = params.max_steps or max(1, math.ceil(round(each * params.epochs, 6)))
    every = max(1, steps // params.evaluations)
    values = {
        "output_dir": str(job.scratch / "checkpoints"),
        "per_device_train_batch_size": params.micro_batch,
        "per_device_eval_batch_size": params.micro_batch,
        "gradient_accumulation_steps": params.gradient_accumulation,
        "max_steps": steps,
        "learning_rate": params.learning_rate,
        "weight_decay": params.weight_decay,
        "warmup_steps": math.ceil(steps * params.warmup_share),
        "lr_scheduler_type": params.schedule,
        "max_grad_norm": params.clip,
        "seed": job.seed,
        "data_seed": job.seed,
        "use_cpu": not _accelerator(),
        "bf16": resolve_precision(params) == "bfloat16",
        "logging_steps": max(1, steps // 40),
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": params.patience is not None,
        "activation_checkpointing": False,  # TRL turns it on by itself
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
    }
    if params.zero_stage is not None:
        ensure_ops()
        values["deepspeed"] = deepspeed_config(params)
        single_process_environment()
    return {**values, **more}


def collated_arguments(job: Job, rows: int) -> Any:
    """TrainingArguments for `rows` training rows whose collator makes all inputs of a loss, `labels` among them."""
    from transformers import TrainingArguments

    return TrainingArguments(
        **arguments(job, rows), prediction_loss_only=True, remove_unused_columns=False, label_names=["labels"]
    )


def loss_trainer(job: Job, data: dict[str, Any], collate: Callable[[list[Row]], Row], loss: Loss) -> Any:
    """A Trainer of the method's model on `data` by side, whose loss is `loss(model, what collate made)`, a mean over
    the batch.
    """
    from transformers import Trainer

    class LossTrainer(Trainer):  # type: ignore[misc]
        loss_is_scaled_for_ga = False

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            found = loss(model, inputs)
            return (found, {}) if return_outputs else found

    return LossTrainer(
        job.adapt(job.load_base()),
        args=collated_arguments(job, len(data["train"])),
        train_dataset=data["train"],
        eval_dataset=data["heldout"],
        data_collator=collate,
        processing_class=job.tokenizer,
    )


def deepspeed_config(params: Training) -> dict[str, Any]:
    """DeepSpeed's config; `auto` is filled in from the training arguments."""
    return {
        "zero_optimization": {"stage": params.zero_stage, "stage3_gather_16bit_weights_on_model_save": True},
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "steps_per_print": 10**9,
    }


@contextmanager
def only_answers_scored() -> Iterator[None]:
    """Within it TRL's head computes the logits of answers alone on a CPU too, as it does on GPUs.

    Elsewhere TRL (1.16) computes those of all positions, twice, to keep the shapes that some devices compile for. Of
    a conversation with four questions answers are a fifth; without the rest a step takes half the CPU time (decision
    0259).
    """
    from trl.trainer import utils

    compiled = utils._use_triton
    utils._use_triton = lambda device: device.type == "cpu" or bool(compiled(device))
    try:
        yield
    finally:
        utils._use_triton = compiled


def single_process_environment() -> None:
    """The environment that DeepSpeed expects from a launcher, for one process started without one."""
    if "RANK" not in os.environ:
        os.environ.update(single_process())


def train(job: Job, trainer: Any, names: list[str] | None = None) -> dict[str, Any]:
    """Train (from the last complete checkpoint, where there is one) and save to `job.trained`.

    `names` are the ids of the rows in the trainer's order (None where they are not known). Returns steps, trained and
    all parameters, the log as rows of plain figures, and `seen`: the names that each step trained on.
    """
    from transformers import EarlyStoppingCallback
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    trainer.remove_callback(_printer())
    trainer.add_callback(_watcher(job))
    if job.params.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(job.params.patience))
    trained, parameters = count_parameters(trainer.model)
    checkpoint = last_checkpoint(job.scratch / "checkpoints")
    if checkpoint and job.main:
        log(f"finetune {job.method}: resuming from {checkpoint.name}")
    unname_buffer()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    require_finite(job, trainer.model, trainer.state.global_step)
    trainer.save_model(str(job.trained))
    unset_hf_deepspeed_config()  # otherwise models loaded from here on would be partitioned as under ZeRO stage 3
    return {
        "seen": rows_of_steps(trainer, names) if names is not None and job.main else None,
        "steps": trainer.state.global_step,
        "trained_parameters": trained,
        "parameters": parameters,
        # the last row, a mean over the steps since the start or resume, is left out
        "log": [_figures(row) for row in trainer.state.log_history if "train_loss" not in row],
    }


def require_finite(job: Job, model: Any, step: int) -> None:
    """Raise UserError where a trained weight is no number: nothing that is computed with it is one.

    The log cannot say it, since the trainer writes a mean of earlier losses in place of a loss that is no number.
    """
    import torch

    for name, weight in model.named_parameters():
        if weight.requires_grad and not torch.isfinite(_own_part(weight)).all():
            raise UserError(
                f"finetune {job.method}: the training has diverged: at step {step} {name} holds values that are no "
                f"numbers; lower learning_rate, which is {job.params.learning_rate:g}"
            )


def _own_part(weight: Any) -> Any:
    """What this process holds of a weight. Under ZeRO 3 the last process's part ends in room that nobody writes."""
    import torch

    part = getattr(weight, "ds_tensor", None)
    if part is None:
        return weight
    own = weight.ds_numel - torch.distributed.get_rank() * part.numel()
    return part.flatten()[: max(0, own)]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _figures(row: Row) -> Row:
    """A log row without values that differ between two equal runs (times, rates)."""
    timed = ("runtime", "per_second", "flos", "step_time", "num_tokens")
    return {key: value for key, value in row.items() if not any(word in key for word in timed)}


def _watcher(job: Job) -> Any:
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        """Progress on the terminal, metrics by step for MLflow, and a marker after each checkpoint."""

        work: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if job.main:
                self.work = task(f"finetune {job.method}", state.max_steps, "steps", done=state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if self.work:
                self.work.update(1)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            numbers = {key: value for key, value in (logs or {}).items() if isinstance(value, int | float)}
            if self.work and "loss" in numbers:
                shown = {key: f"{numbers[key]:.4g}" for key in ("loss", "learning_rate") if key in numbers}
                self.work.update(0, **shown)
            if job.main:
                job.run.metrics(
                    {key.replace("eval_", "heldout_"): value for key, value in numbers.items()}, state.global_step
                )

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            require_finite(job, rest["model"], state.global_step)
            if job.main:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

        def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if self.work:
                self.work.close()

    return Watcher()


def _printer() -> Any:
    from transformers import PrinterCallback

    return PrinterCallback


def _accelerator() -> bool:
    import torch

    return torch.cuda.is_available()
