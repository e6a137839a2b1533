"""A reward model: one number for a conversation, trained on preferences (Bradley-Terry) by TRL's RewardTrainer."""

from pathlib import Path
from typing import Any

import torch

from llm_core.models.loading import device_of
from llm_core.training.finetuning.preferences import encode_pairs, in_order, summary
from llm_core.training.finetuning.scoring import BATCH, mean_and_error, padded, paired
from llm_core.training.finetuning.training import Job, arguments, train

HEAD = "classification"


def labels(job: Job) -> list[str]:
    """One label: the reward."""
    return ["reward"]


def finetune(job: Job) -> dict[str, Any]:
    """Train; see `training.train`."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    pairs = {side: encode_pairs(job, side) for side in ("train", "heldout")}
    ordered = in_order(job, pairs)
    data = {
        side: Dataset.from_list(
            [{f"{name}_ids": pair[name]["input_ids"] for name in ("chosen", "rejected")} for pair in found]
        )
        for side, found in ordered.items()
    }
    model = job.adapt(job.load_base(HEAD, labels(job)), "SEQ_CLS")
    config = RewardConfig(
        **arguments(job, len(data["train"]), train_sampling_strategy="sequential"),
        max_length=job.params.max_length,
        center_rewards_coefficient=job.params.center_rewards or None,
    )
    trainer = RewardTrainer(
        model, args=config, train_dataset=data["train"], eval_dataset=data["heldout"], processing_class=job.tokenizer
    )
    return {**train(job, trainer, [pair["name"] for pair in ordered["train"]]), "data": summary(pairs)}


@torch.no_grad()
def rewards(model: Any, rows: list[dict[str, list[int]]], pad: int) -> list[float]:
    """The model's reward for each encoded conversation."""
    scores: list[float] = []
    model.eval()
    for start in range(0, len(rows), BATCH):
        ids, mask, _ = padded(rows[start : start + BATCH], pad, device_of(model))
        scores += model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
    return scores


def measure(job: Job, model: Any) -> dict[str, Any]:
    """Share of test pairs whose chosen answer has the higher reward, and the mean margin."""
    pairs, _ = encode_pairs(job, "test")
    pad = job.tokenizer.pad_token_id
    chosen = rewards(model, [pair["chosen"] for pair in pairs], pad)
    rejected = rewards(model, [pair["rejected"] for pair in pairs], pad)
    margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
    right = [float(margin > 0) for margin in margins]
    return {"accuracy": mean_and_error(right), "margin": mean_and_error(margins), "items": {"right": right}}


def finish(job: Job, model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rise in accuracy with its sign test."""
    return {"accuracy_change": paired(figures["before"]["items"]["right"], figures["after"]["items"]["right"])}
