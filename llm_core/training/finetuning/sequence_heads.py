"""Training and reading a head on a whole text, or on a pair of texts: what the methods with such a head share.

A row has `text`, and `text_pair` where it is about two texts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llm_core.models.configs import read_config

if TYPE_CHECKING:
    from llm_core.models.loading import LoadedModel
    from llm_core.training.finetuning.training import Job

Encoded = dict[str, list[int]]
Loss = Callable[[Any, Any], Any]


def encode_inputs(
    tokenizer: Any, config: Any, rows: Sequence[Mapping[str, Any]], limit: int
) -> tuple[list[Encoded], int]:
    """(inputs of each row, how many rows lost text to `limit` tokens).

    A pair's inputs have `token_type_ids` where the model has types of tokens.
    """
    from llm_core.models.family import kind_of
    from llm_core.training.finetuning.conversation import encode_pair, encode_text

    kind = kind_of(config)
    ends = kind == "encoder-decoder"
    types = kind == "encoder" and (getattr(config, "type_vocab_size", 0) or 0) > 1
    inputs: list[Encoded] = []
    cut = 0
    for row in rows:
        if "text_pair" in row:
            ids, first, shortened = encode_pair(tokenizer, row["text"], row["text_pair"], limit, ends)
            inputs.append({"input_ids": ids})
            if types:
                inputs[-1]["token_type_ids"] = [0] * first + [1] * (len(ids) - first)
        else:
            ids, shortened = encode_text(tokenizer, row["text"], limit, ends)
            inputs.append({"input_ids": ids})
        cut += shortened
    return inputs, cut


def encode(job: "Job", side: str) -> tuple[list[Encoded], int]:
    """`encode_inputs` of a side's rows."""
    return encode_inputs(job.tokenizer, read_config(job.base), job.rows[side], job.params.max_length)


def train_head(job: "Job", targets: Mapping[str, Sequence[Any]], loss: Loss) -> dict[str, Any]:
    """Train the method's head on the rows and their `targets` by side; see `training.train`.

    `loss` is the sum over rows of the loss of logits (rows, labels) and targets (rows, …).
    """
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    from llm_core.training.finetuning.rows import names
    from llm_core.training.finetuning.training import arguments, train

    encoded = {side: encode(job, side) for side in ("train", "heldout")}
    data = {
        side: Dataset.from_list(
            [
                {**row, "length": len(row["input_ids"]), "labels": target}
                for row, target in zip(rows, targets[side], strict=True)
            ]
        )
        for side, (rows, _) in encoded.items()
    }

    def mean_loss(outputs: Any, wanted: Any, num_items_in_batch: Any = None) -> Any:
        found = loss(outputs.logits.float(), wanted)
        if num_items_in_batch is None:
            return found / len(wanted)
        return found * (wanted.numel() / len(wanted)) / num_items_in_batch  # which counts targets, a row may have many

    trainer = Trainer(
        job.adapt(job.load_base()),
        # batches of similar lengths save padding, but length predicts the label (spam is long): the loss would jump
        args=TrainingArguments(**arguments(job, len(data["train"]))),
        train_dataset=data["train"],
        eval_dataset=data["heldout"].sort("length"),
        data_collator=DataCollatorWithPadding(job.tokenizer),
        processing_class=job.tokenizer,
        compute_loss_func=mean_loss,
    )
    used = {f"{side}_rows": len(rows) for side, (rows, _) in encoded.items()}
    return {
        **train(job, trainer, names(job.rows["train"])),
        "data": used | {f"{side}_cut_at_max_length": cut for side, (_, cut) in encoded.items()},
    }


def logits_of(loaded: "LoadedModel", rows: Sequence[Mapping[str, Any]]) -> Any:
    """Logits of a trained model for rows without their labels, float32 (rows, labels)."""
    from llm_core.training.finetuning.calibration import predict

    inputs, _ = encode_inputs(loaded.tokenizer, loaded.network.config, rows, loaded.context or 512)
    return predict(loaded.network, inputs, loaded.tokenizer.pad_token_id)


def keep(job: "Job", model: Any, folder: Any, **settings: Any) -> None:
    """Write into the exported config for which method the model was trained, and settings that its use needs."""
    for name, value in {"finetuned_for": job.method, **settings}.items():
        setattr(model.config, name, value)
    model.config.save_pretrained(folder)
