"""Which scores tell two data recipes apart at the size of the default run, by the steps of the training.

    python -m benchmarks.signal_by_steps PROJECT --work WORK --steps 180 720 --seeds 1 2 3

PROJECT is a finished project (`make run`), of which tokens, tokenizer, held-out documents and benchmarks are read. The
recipes are the default run's data, and the same without the sources of prose of today (`RECIPES`). Each is trained for
each number of steps with each seed, and scored on `--limit` items of every benchmark. Prints the ratio of signal to
noise of each score (`llm_core/evaluation/signal.py`); models and scores that WORK has are kept.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from llm_core.evaluation.signal import Signal, scores_of, signals

RECIPES = {
    "default": [],
    "old": ["pretraining.mixture={weights: {bible: 1.0, shakespeare: 1.0}, max_epochs: 20}"],
}
TASKS = (
    "arc_challenge", "arc_easy", "boolq", "commonsense_qa", "copa", "hellaswag", "lambada_openai", "mmlu", "openbookqa",
    "piqa", "sciq", "social_iqa", "winogrande",
)  # fmt: skip
MEASURES = {"acc": "accuracy", "gold_bpb": "bits per byte of the right answer", "margin": "lead of the right answer"}


def run(verb: str, out: Path, project: Path, arguments: list[str], settings: list[str]) -> None:
    """One verb with the project's params and these settings, whose output is `out`; nothing where it is there."""
    if (out / "metrics.json").exists():
        return
    command = [sys.executable, "-m", "llm_core.cli", verb, *arguments, "--out", str(out)]
    command += ["--params", str(project / "params.yaml")]
    command += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True)  # its MLflow store is there, too
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    print(f"{verb} {out.name}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=lambda path: Path(path).resolve(), help="a finished project; it is only read")
    parser.add_argument("--work", type=Path, required=True, help="models and scores")
    parser.add_argument("--steps", type=int, nargs="+", default=[180, 720])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--limit", type=int, default=200, help="items of each benchmark")
    chosen = parser.parse_args()
    models, scored, data = chosen.work.resolve() / "models", chosen.work.resolve() / "scores", chosen.project / "data"
    models.mkdir(parents=True, exist_ok=True)
    scored.mkdir(exist_ok=True)
    tokens = ["--tokens", str(data / "tokens"), "--tokenizer", str(data / "tokenizer")]
    read = ["--in", str(data / "split" / "heldout" / "documents"), "--benchmarks", str(data / "benchmarks")]
    limits = [f"evaluation.limit={chosen.limit}", f"evaluation.tasks=[{','.join(TASKS)}]", "evaluation.prompts=[]"]
    found: dict[tuple[str, int], Signal] = {}
    for steps in chosen.steps:
        scores = []
        for recipe, settings in RECIPES.items():
            runs = []
            for seed in chosen.seeds:
                name = f"{recipe}-{steps}-{seed}"
                trained = [f"seed={seed}", f"pretraining.steps={steps}", *settings]
                run("pretrain", models / name, chosen.project, tokens, trained)
                run("evaluate", scored / name, chosen.project, ["--model", str(models / name), *read], limits)
                runs.append(scores_of(scored / name))
            scores.append(runs)
        for one in signals(scores):
            found[one.score.replace("acc_norm", "acc"), steps] = one  # a benchmark has one of both as its accuracy
    names = sorted({score.partition(", ")[0] for score, _ in found})
    columns = [(steps, measure) for measure in MEASURES for steps in chosen.steps]
    print("| | " + " | ".join(f"{MEASURES[measure]}, {steps} steps" for steps, measure in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in names:
        if any((f"{name}, {measure}", steps) in found for steps, measure in columns):
            cells = (_cell(found.get((f"{name}, {measure}", steps))) for steps, measure in columns)
            print(f"| {name} | {' | '.join(cells)} |")
    print("\n| bits per byte of held-out text | " + " | ".join(f"{steps} steps" for steps in chosen.steps) + " |")
    print("|---" * (len(chosen.steps) + 1) + "|")
    for score in dict.fromkeys(score for score, _ in found if score.startswith("bits per byte")):
        print(f"| {score.partition(', ')[2]} | {' | '.join(_cell(found[score, steps]) for steps in chosen.steps)} |")


def _cell(signal: Signal | None) -> str:
    """Ratio of signal to noise, and the probability of such a signal by chance; bold where that is at most 5 %."""
    if signal is None or signal.chance != signal.chance:  # all runs alike
        return ""
    bold = "**" if signal.chance <= 0.05 else ""
    chance = f"{signal.chance:.3f}" if signal.chance >= 0.001 else "< 0.001"
    return f"{bold}{signal.ratio:.1f}{bold} ({chance})"


if __name__ == "__main__":
    main()
