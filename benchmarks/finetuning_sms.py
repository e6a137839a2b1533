"""SMS Spam: a finetuned model, full and by LoRA, against TF-IDF with logistic regression, on the same split.

    python benchmarks/finetuning_sms.py --model data/models/base [--adapters full lora qlora] [--out sms.json]

Reads ../shared/data/finetuning/SMSSpamCollection (https://archive.ics.uci.edu/dataset/228), or the file that --data
names. Prints one JSON object: macro-F1 on the test rows with its 95 % bootstrap interval for each side, the
differences on the same rows with theirs, the share of trained parameters, CPU seconds. About two CPU minutes for each
adapter with the default base of 4 million parameters; set OMP_NUM_THREADS=1. The peer needs scikit-learn only.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from llm_core.params import load
from llm_core.training.finetuning.calibration import bootstrapped, macro_f1
from llm_core.training.finetuning.data.stage import prepare
from llm_core.training.finetuning.rows import read_rows
from llm_core.training.finetuning.stage import finetune

# A fifth of the rows is for testing, so that the interval is useful; the parameters were chosen by held-out loss.
COMMON = {"data.test_share": 0.2, "classification.zero_stage": "null", "classification.patience": 2}
FULL = {"max_steps": 250, "learning_rate": 5e-4, "evaluations": 3}
ADAPTER = {"max_steps": 250, "learning_rate": 3e-3, "evaluations": 3, "lora.rank": 4, "lora.alpha": 8}


def peer(rows: dict, labels: list[str], seed: int) -> np.ndarray:
    """Decisions of balanced logistic regression on TF-IDF of words and pairs of words, else scikit-learn's defaults."""
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    seen = features.fit_transform([row["text"] for row in rows["train"]])
    model = LogisticRegression(class_weight="balanced", max_iter=1000, random_state=seed)
    model.fit(seen, [labels.index(row["label"]) for row in rows["train"]])
    return model.predict(features.transform([row["text"] for row in rows["test"]]))


def difference(truth: np.ndarray, one: np.ndarray, other: np.ndarray, seed: int, draws: int = 1000) -> dict:
    """Macro-F1 of `one` minus that of `other` on the same rows, with a paired 95 % bootstrap interval."""
    generator = np.random.default_rng(seed)

    def score(rows: np.ndarray) -> float:
        return f1_score(truth[rows], one[rows], average="macro") - f1_score(truth[rows], other[rows], average="macro")

    values = [score(generator.integers(0, len(truth), len(truth))) for _ in range(draws)]
    low, high = np.percentile(values, [2.5, 97.5])
    return {"value": round(score(np.arange(len(truth))), 4), "low": round(low, 4), "high": round(high, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a base model folder")
    parser.add_argument("--data", default="../shared/data/finetuning/SMSSpamCollection")
    parser.add_argument("--adapters", nargs="+", default=["full", "lora"], choices=["full", "lora", "qlora"])
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--set", action="append", default=[], help="overrides of params, after the script's own")
    parser.add_argument("--out", type=Path, help="write the JSON object here, too")
    options = parser.parse_args()
    os.environ.setdefault("LLM_CORE_TRACKING", "off")
    found: dict = {}
    decided: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows"
        for adapter in options.adapters:
            own = FULL if adapter == "full" else ADAPTER
            knobs = COMMON | own
            texts = [f"finetuning.on_demand.classification.{key}={value}" for key, value in knobs.items()]
            params = load(
                options.params, [*texts, f"finetuning.on_demand.classification.adapter={adapter}", *options.set]
            )
            if not data.exists():
                found["rows"] = prepare("classification", data, params, options.data)
                rows = read_rows(data, "classification")
                labels = sorted({row["label"] for row in rows["train"]})
                truth = np.array([labels.index(row["label"]) for row in rows["test"]])
                began = time.process_time()
                decided["peer"] = peer(rows, labels, params.seed)
                found["peer"] = {
                    "macro_f1": bootstrapped(macro_f1, truth, decided["peer"], params.seed),
                    "cpu_seconds": round(time.process_time() - began, 1),
                }
            began = time.process_time()
            out = Path(folder) / adapter
            metrics = finetune("classification", options.model, data, out, params)
            with open(out / "confusion.csv", encoding="utf-8") as stream:
                decided[adapter] = np.array([labels.index(row["predicted"]) for row in csv.DictReader(stream)])
            training = metrics["training"]
            found[adapter] = {
                "macro_f1": metrics["after"]["macro_f1"],
                "macro_f1_before": metrics["before"]["macro_f1"]["value"],
                "calibration_error": metrics["calibration_error"],
                "steps": training["steps"],
                "trained_share": round(training["trained_parameters"] / training["parameters"], 5),
                "minus_peer": difference(truth, decided[adapter], decided["peer"], params.seed),
                "cpu_seconds": round(time.process_time() - began, 1),
            }
            if adapter != "full" and "full" in decided:
                found[adapter]["minus_full"] = difference(truth, decided[adapter], decided["full"], params.seed)
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
