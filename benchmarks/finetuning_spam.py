"""SMS Spam: a finetuned model against TF-IDF with logistic regression, on the same split.

    python benchmarks/finetuning_spam.py --model data/models/base [--set finetuning.classification.adapter=lora]

Reads ../shared/data/finetuning/SMSSpamCollection, or the file that --data names. Prints macro-F1 with its
95 % bootstrap interval for both, the share of trained parameters and the CPU seconds of both as one JSON object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from llm_core.finetuning.classification import macro_f1_interval
from llm_core.finetuning.prepare import prepare
from llm_core.finetuning.rows import read_rows
from llm_core.finetuning.stage import finetune
from llm_core.params import load


def peer(rows: dict, seed: int) -> dict:
    """Word and two-word TF-IDF with balanced logistic regression, at scikit-learn's defaults otherwise."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    seen = features.fit_transform([row["text"] for row in rows["train"]])
    labels = sorted({row["label"] for row in rows["train"]})
    model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(
        seen, [row["label"] for row in rows["train"]]
    )
    decided = model.predict(features.transform([row["text"] for row in rows["test"]]))
    truth = np.array([labels.index(row["label"]) for row in rows["test"]])
    return macro_f1_interval(truth, np.array([labels.index(label) for label in decided]), seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", default="../shared/data/finetuning/SMSSpamCollection")
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    params = load(options.params, options.set)
    with tempfile.TemporaryDirectory() as folder:
        made = prepare("classification", options.data, Path(folder) / "rows", params)
        began = time.process_time()
        metrics = finetune("classification", options.model, Path(folder) / "rows", Path(folder) / "model", params)
        ours = time.process_time() - began
        rows = read_rows(Path(folder) / "rows", "classification")
        began = time.process_time()
        theirs = peer(rows, params.seed)
    training = metrics["training"]
    print(
        json.dumps(
            {
                "rows": made,
                "model": {"macro_f1": metrics["after"]["macro_f1"], "accuracy": metrics["after"]["accuracy"]},
                "tfidf_logistic_regression": {"macro_f1": theirs},
                "calibration_error": metrics["calibration_error"],
                "trained_share": training["trained_parameters"] / training["parameters"],
                "cpu_seconds": {"model": round(ours, 1), "peer": round(time.process_time() - began, 1)},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
