"""A reward model: one number for a conversation, trained on preferences (Bradley-Terry) by TRL's RewardTrainer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from llm_core.evaluation.results import groups_of
from llm_core.params.finetuning import Training
from llm_core.training.finetuning.data.layouts import PREFERENCES, prompt_text
from llm_core.training.finetuning.heads import CLASSIFICATION
from llm_core.training.finetuning.method import Figure, Method

if TYPE_CHECKING:
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.training import Job

BASELINES = {
    "longer_answer": Figure("always the longer answer"),
    "tfidf_logistic_regression": Figure("TF-IDF with logistic regression of the difference of two answers"),
}


class Reward(Training):
    """A scalar head trained on preferences (Bradley-Terry)."""

    center_rewards: float = Field(0.01, ge=0)
    """Weight of a penalty that keeps the mean reward near zero (arXiv:2312.09244)."""


def default_rows(facts: "Facts") -> dict[str, list[dict[str, Any]]]:
    """The Factbook's preferences."""
    return facts.preferences()


def labels(job: "Job") -> list[str]:
    """One label: the reward."""
    return ["reward"]


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    from llm_core.training.finetuning.preferences import encode_pairs, in_order, summary
    from llm_core.training.finetuning.training import arguments, train

    pairs = {side: encode_pairs(job, side) for side in ("train", "heldout")}
    ordered = in_order(job, pairs)
    data = {
        side: Dataset.from_list(
            [{f"{name}_ids": pair[name]["input_ids"] for name in ("chosen", "rejected")} for pair in found]
        )
        for side, found in ordered.items()
    }
    model = job.adapt(job.load_base())
    config = RewardConfig(
        **arguments(job, len(data["train"]), train_sampling_strategy="sequential"),
        max_length=job.params.max_length,
        center_rewards_coefficient=job.params.center_rewards or None,
    )
    trainer = RewardTrainer(
        model, args=config, train_dataset=data["train"], eval_dataset=data["heldout"], processing_class=job.tokenizer
    )
    return {**train(job, trainer, [pair["name"] for pair in ordered["train"]]), "data": summary(pairs)}


def rewards(model: Any, rows: list[dict[str, list[int]]], pad: int) -> list[float]:
    """The model's reward for each encoded conversation."""
    import torch

    from llm_core.models.loading import device_of
    from llm_core.training.finetuning.scoring import BATCH, padded

    scores: list[float] = []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            ids, mask, _ = padded(rows[start : start + BATCH], pad, device_of(model))
            scores += model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
    return scores


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """Share of test pairs whose chosen answer has the higher reward, and the mean margin."""
    from llm_core.training.finetuning.preferences import encode_pairs
    from llm_core.training.finetuning.scoring import mean_and_error

    pairs, _ = encode_pairs(job, "test")
    pad = job.tokenizer.pad_token_id
    chosen = rewards(model, [pair["chosen"] for pair in pairs], pad)
    rejected = rewards(model, [pair["rejected"] for pair in pairs], pad)
    margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
    right = [float(margin > 0) for margin in margins]
    groups = groups_of([pair["row"] for pair in pairs])
    return {
        "accuracy": mean_and_error(right, groups),
        "margin": mean_and_error(margins, groups),
        "items": {"accuracy": right, "rows": [pair["name"] for pair in pairs]},
    }


def baseline(job: "Job") -> dict[str, Any]:
    """The accuracy of the longer answer, and of a linear model; see `preferences.baseline`."""
    from llm_core.training.finetuning import preferences

    return preferences.baseline(job)


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rise in accuracy with its sign test."""
    from llm_core.training.finetuning.preferences import encode_pairs
    from llm_core.training.finetuning.scoring import paired

    before, after = (figures[when]["items"]["accuracy"] for when in ("before", "after"))
    groups = groups_of([pair["row"] for pair in encode_pairs(job, "test")[0]])
    return {"accuracy_change": paired(before, after, groups)}


METHOD = Method(
    help="A reward model: one number for a conversation, trained on preferences.",
    params=Reward,
    fields=("prompt", "chosen", "rejected"),
    kinds=("decoder", "encoder"),
    why_not="TRL's reward trainer reads one sequence; an encoder-decoder needs two",
    layouts=PREFERENCES,
    finetune=finetune,
    measure=measure,
    head=CLASSIFICATION,
    labels=labels,
    finish=finish,
    baseline=baseline,
    default_rows=default_rows,
    compared=prompt_text,
    loss="nats per pair",
    score="accuracy",
    figures={
        "accuracy": Figure("test pairs whose chosen answer has the higher reward"),
        "margin": Figure("reward of the chosen answer minus that of the rejected one"),
        **BASELINES,
    },
    use="finetune rlhf --set finetuning.rlhf.reward={model}",
)
