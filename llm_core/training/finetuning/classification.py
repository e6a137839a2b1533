"""Text classification: a softmax head on an encoder, decoder or encoder-decoder, with calibrated confidence.

The confidence is calibrated by one temperature fitted on the held-out rows (Guo et al., arXiv:1706.04599) and kept
in the
config as `classification_temperature`. It changes no decision. Reported: accuracy, macro-F1 with its bootstrap
interval, expected
calibration error (15 bins), confusion matrix, reliability.
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_core.errors import UserError
from llm_core.models import prompts
from llm_core.models.loading import device_of
from llm_core.runtime.shares import wilson
from llm_core.training.finetuning.rows import names as names_of
from llm_core.training.finetuning.scoring import BATCH, padded
from llm_core.training.finetuning.training import Job, arguments, train

HEAD = "classification"
BINS = 15


def labels(job: Job) -> list[str]:
    """The training rows' labels, sorted; UserError names one that occurs only elsewhere."""
    known = sorted({str(row["label"]) for row in job.rows["train"]})
    for side in ("heldout", "test"):
        for number, row in enumerate(job.rows[side], 1):
            if str(row["label"]) not in known:
                raise UserError(
                    f"{side}.jsonl:{number}: label '{row['label']}' does not occur in training (there: "
                    f"{', '.join(known[:12])})"
                )
    if len(known) < 2:
        raise UserError(f"classification needs two labels; the training rows have only '{known[0]}'")
    return known


def encode(job: Job, side: str) -> tuple[list[dict[str, list[int]]], int]:
    """(encoded texts, how many lost their end to max_length)."""
    ends = job.kind == "encoder-decoder"
    found = [encode_text(job.tokenizer, str(row["text"]), job.params.max_length, ends) for row in job.rows[side]]
    return [{"input_ids": ids} for ids, _ in found], sum(cut for _, cut in found)


def encode_text(tokenizer: Any, text: str, limit: int, ends: bool) -> tuple[list[int], bool]:
    """(ids of at most `limit` tokens, whether the text lost its end).

    A closing special token (BERT's separator) stays when the text is cut; with `ends` there is one
    end token, by which T5's head finds its place.
    """
    ids = prompts.encode_text(tokenizer, text, special=True)
    if ends and ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
    cut = len(ids) > limit
    if cut:
        closing = ids[-1:] if ids[-1] in tokenizer.all_special_ids else []
        ids = ids[: limit - len(closing)] + closing
    return ids or [tokenizer.eos_token_id], cut


def finetune(job: Job) -> dict[str, Any]:
    """Train; see `training.train`."""
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    names = labels(job)
    number = {name: at for at, name in enumerate(names)}
    encoded = {side: encode(job, side) for side in ("train", "heldout")}
    data = {
        side: Dataset.from_list(
            [
                {**row, "length": len(row["input_ids"]), "labels": number[str(of["label"])]}
                for row, of in zip(rows, job.rows[side], strict=True)
            ]
        )
        for side, (rows, _) in encoded.items()
    }
    counts = Counter(data["train"]["labels"])
    balanced = job.params.class_weights == "balanced"
    weights = torch.tensor(
        [len(data["train"]) / (len(names) * counts[at]) if balanced else 1.0 for at in range(len(names))]
    )

    def weighted(outputs: Any, targets: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(
            outputs.logits.float(), targets, weights.to(outputs.logits.device), reduction="sum"
        )
        return loss / (num_items_in_batch if num_items_in_batch is not None else len(targets))

    model = job.adapt(job.load_base(HEAD, names), "SEQ_CLS")
    trainer = Trainer(
        model,
        # batches of like lengths would save padding, but length tells the label (spam is long): their loss jumps
        args=TrainingArguments(**arguments(job, len(data["train"]))),
        train_dataset=data["train"],
        eval_dataset=data["heldout"].sort("length"),
        data_collator=DataCollatorWithPadding(job.tokenizer),
        processing_class=job.tokenizer,
        compute_loss_func=weighted,
    )
    used = {f"{side}_rows": len(rows) for side, (rows, _) in encoded.items()}
    return {
        **train(job, trainer, names_of(job.rows["train"])),
        "data": used | {f"{side}_cut_at_max_length": cut for side, (_, cut) in encoded.items()},
    }


@torch.no_grad()
def predict(model: Any, rows: list[dict[str, list[int]]], pad: int) -> np.ndarray:
    """Logits, float32 (rows, labels)."""
    found = np.zeros((len(rows), model.config.num_labels), np.float32)
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]["input_ids"]))
    model.eval()
    for start in range(0, len(rows), BATCH):
        chosen = order[start : start + BATCH]
        ids, mask, _ = padded([rows[at] for at in chosen], pad, device_of(model))
        found[chosen] = model(input_ids=ids, attention_mask=mask).logits.float().cpu().numpy()
    return found


def measure(job: Job, model: Any) -> dict[str, Any]:
    """Accuracy and macro-F1 (with a 95 % bootstrap interval) on the test rows."""
    names = labels(job)
    truth = np.array([names.index(str(row["label"])) for row in job.rows["test"]])
    logits = predict(model, encode(job, "test")[0], job.tokenizer.pad_token_id)
    decided = logits.argmax(1)
    return {"accuracy": float((decided == truth).mean()), "macro_f1": macro_f1_interval(truth, decided, job.seed)}


def macro_f1_interval(truth: np.ndarray, decided: np.ndarray, seed: int, draws: int = 500) -> dict[str, float]:
    """Macro-F1 over the labels that occur, with the 2.5th and 97.5th percentile of `draws` bootstrap samples."""
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(seed)
    samples = [generator.integers(0, len(truth), len(truth)) for _ in range(draws)]
    values = [f1_score(truth[chosen], decided[chosen], average="macro", zero_division=0) for chosen in samples]
    low, high = np.percentile(values, [2.5, 97.5])
    value = float(f1_score(truth, decided, average="macro", zero_division=0))
    if low == high:  # resampling sees no spread, which does not make the figure certain
        low, high = wilson(value * len(truth), len(truth))
    return {
        "value": value,
        "low": float(low),
        "high": float(high),
    }


def finish(job: Job, model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Calibrate on held-out rows; write confusion.csv, reliability.csv and reliability.png, and the temperature."""
    names, pad = labels(job), job.tokenizer.pad_token_id
    held = np.array([names.index(str(row["label"])) for row in job.rows["heldout"]])
    temperature = fit_temperature(predict(model, encode(job, "heldout")[0], pad), held)
    model.config.classification_temperature = temperature
    model.config.save_pretrained(folder)
    logits = predict(model, encode(job, "test")[0], pad)
    truth = [names.index(str(row["label"])) for row in job.rows["test"]]
    decided = logits.argmax(1)
    with open(folder / "confusion.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["actual", "predicted"])
        writer.writerows((names[one], names[other]) for one, other in zip(truth, decided, strict=True))
    raw, calibrated = (reliability(softmax(logits / heat), np.array(truth)) for heat in (1.0, temperature))
    with open(folder / "reliability.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["confidence", "accuracy", "rows"])
        table.writerows(calibrated["bins"])
    _plot(calibrated["bins"], folder / "reliability.png")
    return {
        "temperature": temperature,
        "calibration_error": {"raw": raw["error"], "calibrated": calibrated["error"]},
        "labels": len(names),
    }


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature, within 0.05 to 20, with the least cross-entropy of softmax(logits / temperature)."""
    from scipy.optimize import minimize_scalar

    if not len(truth):
        return 1.0

    def loss(log_heat: float) -> float:
        return -float(np.log(softmax(logits / np.exp(log_heat))[np.arange(len(truth)), truth] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of probabilities."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Expected calibration error, and (mean confidence, accuracy, rows) of each bin of equal width that has rows."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        (float(confidence[place == at].mean()), float(right[place == at].mean()), int((place == at).sum()))
        for at in range(BINS)
        if (place == at).any()
    ]
    error = sum(rows * abs(mean - accuracy) for mean, accuracy, rows in bins) / max(len(truth), 1)
    return {"error": float(error), "bins": bins}


def _plot(bins: list[tuple[float, float, int]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4, 4))
    axes.plot([0, 1], [0, 1], "--", color="grey")
    axes.plot([one for one, _, _ in bins], [two for _, two, _ in bins], "o-")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Reliability on test rows")
    figure.savefig(path, dpi=100, metadata={"Software": ""})
    pyplot.close(figure)
