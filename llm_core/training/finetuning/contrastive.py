"""A sentence encoder: a query's vector is drawn to its passage's and away from those of the batch's other passages.

InfoNCE over in-batch negatives (van den Oord et al., arXiv:1807.03748), as DPR trains it (Karpukhin et al.,
arXiv:2004.04906): the cosine similarities of a query with all passages of its batch, divided by a temperature, are
the logits of which passage is its own. A passage that two queries share is no negative of either. Vectors are means
over tokens, as `retrieval.encoder` reads them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from llm_core.models.loading import device_of
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.classification import encode_text
from llm_core.training.finetuning.rows import names
from llm_core.training.finetuning.scoring import BATCH, mean_and_error, padded, paired
from llm_core.training.finetuning.training import Job, arguments, train

HEAD = "encoder"
DEPTHS = (1, 5)
SIDES = ("query", "passage")
Encoded = list[dict[str, list[int]]]


def labels(job: Job) -> None:
    """None: there is no head."""


def encode(job: Job, side: str) -> tuple[Encoded, Encoded, int]:
    """(queries, passages, how many of either lost their end to max_length) of a side's rows."""
    cut = 0
    found: dict[str, Encoded] = {name: [] for name in SIDES}
    for name, texts in found.items():
        for row in job.rows[side]:
            ids, shortened = encode_text(job.tokenizer, row[name], job.params.max_length, False)
            texts.append({"input_ids": ids})
            cut += shortened
    return found["query"], found["passage"], cut


def finetune(job: Job) -> dict[str, Any]:
    """Train; see `training.train`."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    temperature, pad = job.params.temperature, job.tokenizer.pad_token_id
    used: dict[str, int] = {}
    data = {}
    for side in ("train", "heldout"):
        queries, passages, cut = encode(job, side)
        own = [int(short_hash(row["passage"])[:15], 16) for row in job.rows[side]]
        data[side] = Dataset.from_list(
            [
                {"query": query["input_ids"], "passage": passage["input_ids"], "own": number}
                for query, passage, number in zip(queries, passages, own, strict=True)
            ]
        )
        used |= {f"{side}_rows": len(own), f"{side}_cut_at_max_length": cut}

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = {"labels": torch.tensor([row["own"] for row in rows])}
        for name in SIDES:
            ids, mask, _ = padded([{"input_ids": row[name]} for row in rows], pad, "cpu")  # the trainer moves it
            batch |= {f"{name}_ids": ids, f"{name}_mask": mask}
        return batch

    class Contrastive(Trainer):  # type: ignore[misc]
        loss_is_scaled_for_ga = False

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            queries, passages = (vectors(model, inputs[f"{side}_ids"], inputs[f"{side}_mask"]) for side in SIDES)
            loss = info_nce(queries, passages, inputs["labels"], temperature)
            return (loss, {}) if return_outputs else loss

    trainer = Contrastive(
        job.adapt(job.load_base(HEAD), "FEATURE_EXTRACTION"),
        args=TrainingArguments(
            **arguments(job, len(data["train"])),
            prediction_loss_only=True,
            remove_unused_columns=False,
            label_names=["labels"],
        ),
        train_dataset=data["train"],
        eval_dataset=data["heldout"],
        data_collator=collate,
        processing_class=job.tokenizer,
    )
    return {**train(job, trainer, names(job.rows["train"])), "data": used}


def vectors(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit vectors (rows, width) in float32: means over the tokens that `mask` (rows, tokens) leaves."""
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    weights = mask.unsqueeze(-1).float()
    return torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)


def info_nce(queries: torch.Tensor, passages: torch.Tensor, own: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean cross-entropy in nats of each query's own passage among those of all processes.

    The same passage elsewhere is left out. `queries` and `passages` are unit vectors (rows, width), row by row
    belonging together; `own` int64 (rows,) is equal where the passages are.
    """
    everyone, everyones, first = passages, own, 0
    if torch.distributed.is_initialized():
        everyone, everyones = _Gathered.apply(passages), _Gathered.apply(own)
        first = torch.distributed.get_rank() * len(own)
    places = first + torch.arange(len(own), device=own.device)
    same = own[:, None] == everyones[None, :]
    same[torch.arange(len(own), device=own.device), places] = False
    scores = (queries @ everyone.T / temperature).masked_fill(same, float("-inf"))
    return torch.nn.functional.cross_entropy(scores, places)


class _Gathered(torch.autograd.Function):
    """The rows of all processes, which have as many each, in their order; gradients go back to where they are from."""

    @staticmethod
    def forward(context: Any, rows: torch.Tensor) -> torch.Tensor:
        found = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(found, rows.contiguous())
        return torch.cat(found)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient)
        return gradient.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


@torch.no_grad()
def embed(model: Any, rows: Encoded, pad: int) -> torch.Tensor:
    """Unit vectors (rows, width) of encoded texts, in their order."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]["input_ids"]))
    found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        ids, mask, _ = padded([rows[at] for at in chosen], pad, device_of(model))
        for at, vector in zip(chosen, vectors(model, ids, mask), strict=True):
            found[at] = vector
    return torch.stack(found)


def measure(job: Job, model: Any) -> dict[str, Any]:
    """Recall and reciprocal rank of each test query's own passage among all of the test rows' passages, by kind."""
    queries, passages, _ = encode(job, "test")
    rows = job.rows["test"]
    encoded = dict(zip((row["passage"] for row in rows), passages, strict=True))
    place = {passage: at for at, passage in enumerate(encoded)}
    pad = job.tokenizer.pad_token_id
    scores = embed(model, queries, pad) @ embed(model, list(encoded.values()), pad).T
    figures: dict[str, list[float]] = {}
    for row, at in zip(rows, rank(scores, [place[row["passage"]] for row in rows]), strict=True):
        kind = f"{row['kind']}_" if "kind" in row else ""
        for depth in DEPTHS:
            figures.setdefault(f"{kind}recall@{depth}", []).append(float(at <= depth))
        figures.setdefault(f"{kind}mrr", []).append(1 / at)
    return {name: mean_and_error(values) for name, values in figures.items()} | {
        "passages": len(encoded),
        "items": figures,
    }


def rank(scores: torch.Tensor, own: Sequence[int]) -> list[int]:
    """Rank, from 1, of column `own[row]` among each row of `scores` (rows, columns); ties count against it."""
    mine = scores[torch.arange(len(own)), torch.tensor(own)]
    return [int(at) for at in (scores >= mine[:, None]).sum(1)]


def finish(job: Job, model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rises with their sign tests."""
    before, after = figures["before"]["items"], figures["after"]["items"]
    return {f"{name}_change": paired(before[name], after[name]) for name in after}
