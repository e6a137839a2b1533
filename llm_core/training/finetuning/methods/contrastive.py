"""A sentence encoder: a query's vector is moved towards its passage's and away from the batch's other passages.

The loss is InfoNCE over in-batch negatives (`sentence_vectors.py`). Vectors are means over tokens, as
`retrieval.encoder` reads them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from llm_core.evaluation.results import groups_of, kind_of_row
from llm_core.params.finetuning import Data, Training
from llm_core.training.finetuning.heads import ENCODER
from llm_core.training.finetuning.method import Figure, Layout, Method, Row, first, text

if TYPE_CHECKING:
    from llm_core.training.finetuning.sentence_vectors import Encoded
    from llm_core.training.finetuning.training import Job

QUERY_FIELDS = ("query", "question", "anchor")
PASSAGE_FIELDS = ("passage", "positive", "context", "document")
DEPTHS = (1, 5)
SIDES = ("query", "passage")


class Contrastive(Training):
    """A sentence encoder, by InfoNCE over in-batch negatives (arXiv:2004.04906)."""

    micro_batch: int = Field(64, ge=2)
    """Number of pairs in one forward pass on one process. A query's negatives are the other pairs' passages, on all
    processes."""
    temperature: float = Field(0.05, gt=0)
    """Temperature that cosine similarities are divided by; a smaller one weighs the nearest wrong passages more."""


def has_fields(raw: Row, data: Data) -> bool:
    """Whether a raw row has a query and a passage."""
    return all(any(key in raw for key in usual) for usual in (QUERY_FIELDS, PASSAGE_FIELDS))


def convert(raw: Row, data: Data) -> Row:
    """A raw row as `query, passage`."""
    query, passage = first(raw, QUERY_FIELDS), first(raw, PASSAGE_FIELDS)
    return {"query": text(query, "query"), "passage": text(passage, "passage")}


def encode(job: "Job", side: str) -> "tuple[Encoded, Encoded, int]":
    """(queries, passages, how many of either lost their end to max_length) of a side's rows."""
    from llm_core.training.finetuning.conversation import encode_text

    cut = 0
    found: dict[str, Encoded] = {name: [] for name in SIDES}
    for name, texts in found.items():
        for row in job.rows[side]:
            ids, shortened = encode_text(job.tokenizer, row[name], job.params.max_length, False)
            texts.append({"input_ids": ids})
            cut += shortened
    return found["query"], found["passage"], cut


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    import torch
    from datasets import Dataset

    from llm_core.runtime.digests import short_hash
    from llm_core.training.finetuning.rows import names
    from llm_core.training.finetuning.scoring import padded
    from llm_core.training.finetuning.sentence_vectors import info_nce, vectors
    from llm_core.training.finetuning.training import loss_trainer, train

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

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = {"labels": torch.tensor([row["own"] for row in rows], device="cpu")}
        for name in SIDES:
            ids, mask, _ = padded([{"input_ids": row[name]} for row in rows], pad, "cpu")  # the trainer moves it
            batch |= {f"{name}_ids": ids, f"{name}_mask": mask}
        return batch

    def loss(model: Any, inputs: Any) -> Any:
        queries, passages = (vectors(model, inputs[f"{side}_ids"], inputs[f"{side}_mask"]) for side in SIDES)
        return info_nce(queries, passages, inputs["labels"], temperature)

    trainer = loss_trainer(job, data, collate, loss)
    return {**train(job, trainer, names(job.rows["train"])), "data": used}


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """Recall and reciprocal rank of each test query's own passage among all of the test rows' passages, by kind of
    row; where some rows have no `kind`, of all rows, too."""
    from llm_core.training.finetuning.scoring import mean_and_error
    from llm_core.training.finetuning.sentence_vectors import embed, rank

    queries, passages, _ = encode(job, "test")
    rows = job.rows["test"]
    encoded = dict(zip((row["passage"] for row in rows), passages, strict=True))
    place = {passage: at for at, passage in enumerate(encoded)}
    pad = job.tokenizer.pad_token_id
    scores = embed(model, queries, pad) @ embed(model, list(encoded.values()), pad).T
    ranks = rank(scores, [place[row["passage"]] for row in rows])
    figures: dict[str, list[float]] = {}
    for kind in dict.fromkeys(map(kind_of_row, rows)):
        chosen = [at for row, at in zip(rows, ranks, strict=True) if kind in ("", kind_of_row(row))]
        prefix = f"{kind}_" if kind else ""
        for depth in DEPTHS:
            figures[f"{prefix}recall@{depth}"] = [float(at <= depth) for at in chosen]
        figures[f"{prefix}mrr"] = [1 / at for at in chosen]
    return {name: mean_and_error(values, _groups(job, name)) for name, values in figures.items()} | {
        "passages": len(encoded),
        "items": figures | {"mrr": [1 / at for at in ranks]},
    }


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rises with their sign tests."""
    from llm_core.training.finetuning.scoring import paired

    before, after = figures["before"]["items"], figures["after"]["items"]
    return {f"{name}_change": paired(before[name], after[name], _groups(job, name)) for name in after}


def _groups(job: "Job", name: str) -> list[str] | None:
    """The groups of the test rows of a figure: of those of its kind, or of all."""
    kind = name.rpartition("_")[0]
    return groups_of([row for row in job.rows["test"] if kind in ("", kind_of_row(row))])


METHOD = Method(
    help="A sentence encoder for search, by InfoNCE over the other passages of a batch.",
    params=Contrastive,
    fields=("query", "passage"),
    kinds=("encoder", "decoder"),
    why_not="a sentence's vector is read from one stack of layers",
    layouts={"retrieval": Layout("query (or question, anchor), passage (or positive, context)", has_fields, convert)},
    finetune=finetune,
    measure=measure,
    head=ENCODER,
    finish=finish,
    other_data="`llm-core encoder-data --in {source} --out FOLDER` makes pairs of documents",
    compared=lambda row: str(row["query"]),
    minimum={"train": 2, "heldout": 1, "test": 1},  # a query's negatives are the other rows' passages
    loss="nats per query",
    score="mrr",
    figures={
        **{f"recall@{depth}": Figure(f"queries whose passage is among the first {depth}") for depth in DEPTHS},
        "mrr": Figure("mean reciprocal rank of the passage"),
        **{f"*_recall@{depth}": Figure(f"queries ({{}}) whose passage is among the first {depth}") for depth in DEPTHS},
        "*_mrr": Figure("mean reciprocal rank of the passage ({})"),
        "passages": Figure("passages to choose from"),
    },
    use="index --set retrieval.encoder={model}",
)
