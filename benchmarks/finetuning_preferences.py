"""Reward model, DPO and RLHF on the default data: what each raises on test countries, with errors and time.

    python benchmarks/finetuning_preferences.py --base data/models/base --instruction data/models/instruction
        [--split data/split] [--methods reward dpo rlhf] [--out preferences.json]

The data are the Factbook's questions that `llm-core finetune-data` makes: the right answer against another country's
(preferences), and right answers (verifiable). Test countries were held out of pretraining. The reward model starts
from the base; DPO and RLHF start from the model that was finetuned on instructions. Printed for each figure: before,
after, the change with its 95 % interval (1.96 paired standard errors over test items) and the one-sided sign test.

- reward: share of test pairs whose right answer gets the higher reward.
- dpo: the same share by log-probability; DPO's margin, beta * (log-ratio of right - log-ratio of wrong); the win rate
  of greedy answers, trained model against start, judged by word F1 (SQuAD's) with the right answer; ties are counted
  separately.
- rlhf: GRPO on the reward of the run rlhf; the rewards of greedy answers; KL from the start in nats an answer.

The parameters are those of params.yaml. About three to six CPU minutes for each method with the default model of 4
million parameters; set OMP_NUM_THREADS=1.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from llm_core.params import load
from llm_core.training.finetuning.data.stage import prepare
from llm_core.training.finetuning.stage import finetune

SHOWN = {"reward": ["accuracy_change"], "dpo": ["accuracy_change"], "rlhf": ["answer_f1_change", "exact_answer_change"]}


def with_interval(change: dict) -> dict:
    """A paired change with its 95 % interval, rounded."""
    half = 1.96 * change["change_standard_error"]
    kept = {key: round(change[key], 4) for key in ("before", "after", "change")}
    interval = [round(change["change"] - half, 4), round(change["change"] + half, 4)]
    return {**kept, "interval": interval, "p_value": change["p_value"], "items": change["items"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--instruction", type=Path, required=True)
    parser.add_argument("--split", default="data/split")
    parser.add_argument("--methods", nargs="+", default=list(SHOWN), choices=list(SHOWN))
    parser.add_argument("--params", default="params.yaml")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--keep", type=Path, help="keep data and models in this folder")
    parser.add_argument("--out", type=Path, help="write the JSON object here, too")
    options = parser.parse_args()
    os.environ.setdefault("LLM_CORE_TRACKING", "off")
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for method in options.methods:
            params = load(options.params, [f"finetuning.on_demand.{method}.zero_stage=null", *options.set])
            data = folder / f"{method}-rows"
            prepare(method, data, params, options.split)
            start = options.base if method == "reward" else options.instruction
            began = time.process_time()
            metrics = finetune(method, start, data, folder / method, params)
            found[method] = {name: with_interval(metrics[name]) for name in SHOWN[method]}
            found[method] |= {
                key: metrics[key] for key in ("dpo_margin", "win_rate", "kl_nats_per_answer") if key in metrics
            }
            found[method]["steps"] = metrics["training"]["steps"]
            found[method]["cpu_seconds"] = round(time.process_time() - began)
            text = json.dumps(found, indent=2)
            if options.out:
                options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
