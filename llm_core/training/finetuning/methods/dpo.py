"""Direct preference optimization by TRL's DPOTrainer.

The reference is the model as it was: a copy for full finetuning, the base without its adapters otherwise.
Judge of the win rate: word F1 (SQuAD's) of the greedy answer against the chosen one; equal scores are ties.
"""

from pathlib import Path
from typing import Any

from llm_core.evaluation.answer_matching import answer_f1
from llm_core.training.finetuning.conversation import IGNORED
from llm_core.training.finetuning.preferences import Pair, conversation, encode_pairs, in_order, summary
from llm_core.training.finetuning.scoring import answer_logps, generate, mean_and_error, paired, sample_rows, sign_test
from llm_core.training.finetuning.training import Job, Row, arguments, train


def finetune(job: Job) -> dict[str, Any]:
    """Train; see `training.train`."""
    from datasets import Dataset
    from trl import DPOConfig

    pairs = {side: encode_pairs(job, side) for side in ("train", "heldout")}
    ordered = in_order(job, pairs)
    data = {side: Dataset.from_list([trl_row(pair) for pair in found]) for side, found in ordered.items()}
    model = job.adapt(job.load_base("generation"), "CAUSAL_LM")
    common = arguments(job, len(data["train"]), train_sampling_strategy="sequential")
    losses = {"sigmoid": 1.0} | ({"sft": job.params.sft_weight} if job.params.sft_weight else {})
    terms = {"loss_type": list(losses), "loss_weights": list(losses.values())}
    config = DPOConfig(**common, **terms, beta=job.params.beta, max_length=None)
    trainer = _trainer_class()(
        model, args=config, train_dataset=data["train"], eval_dataset=data["heldout"], processing_class=job.tokenizer
    )
    return {**train(job, trainer, [pair["name"] for pair in ordered["train"]]), "data": summary(pairs)}


def measure(job: Job, model: Any) -> dict[str, Any]:
    """On test pairs: how often the chosen answer is the likelier one, the log-probability margin, judged answers."""
    pairs, _ = encode_pairs(job, "test")
    pad = job.tokenizer.pad_token_id
    chosen = answer_logps(model, [pair["chosen"] for pair in pairs], pad)
    rejected = answer_logps(model, [pair["rejected"] for pair in pairs], pad)
    margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
    right = [float(margin > 0) for margin in margins]
    rows = sample_rows(job.rows["test"], job.params.scored_items, job.seed)
    prompts = [conversation(row, "")[:-1] for row in rows]
    answers = generate(model, job.tokenizer, prompts, job.params.max_new_tokens) if rows else []
    judged = [answer_f1(text, row["chosen"]) for row, (text, _) in zip(rows, answers, strict=True)]
    return {
        "accuracy": mean_and_error(right),
        "margin": mean_and_error(margins),
        "answer_f1": mean_and_error(judged),
        "items": {"right": right, "margins": margins, "judged": judged},
        "samples": [
            {"prompt": row["prompt"], "answer": text, "right_answer": row["chosen"]}
            for row, (text, _) in list(zip(rows, answers, strict=True))[:12]
        ],
    }


def finish(job: Job, model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Changes on the same items: accuracy, DPO's margin (reward difference, beta times log ratios), win rate."""
    before, after = figures["before"]["items"], figures["after"]["items"]
    wins = sum(b > a for a, b in zip(before["judged"], after["judged"], strict=True))
    losses = sum(b < a for a, b in zip(before["judged"], after["judged"], strict=True))
    ties = len(before["judged"]) - wins - losses
    margins = [job.params.beta * (b - a) for a, b in zip(before["margins"], after["margins"], strict=True)]
    return {
        "accuracy_change": paired(before["right"], after["right"]),
        "dpo_margin": mean_and_error(margins)
        | {"p_value": sign_test(sum(m > 0 for m in margins), sum(m < 0 for m in margins))},
        "win_rate": {
            "wins": wins,
            "losses": losses,
            "ties": ties,
            "rate": (wins + ties / 2) / max(wins + losses + ties, 1),
            "p_value": sign_test(wins, losses),
            "judge": "answer_f1 against the chosen answer",
        },
    }


def trl_row(pair: Pair) -> Row:
    """A pair as TRL's collator reads it: ids of the prompt and of each answer, which part where no token spans."""
    ids, labels = pair["chosen"]["input_ids"], pair["chosen"]["labels"]
    prompt = len(labels) - labels[::-1].index(IGNORED)  # behind the last token that no answer holds
    return {
        "prompt_ids": ids[:prompt],
        "chosen_ids": ids[prompt:],
        "rejected_ids": pair["rejected"]["input_ids"][prompt:],
    }


def _trainer_class() -> Any:
    from trl import DPOTrainer

    class EncodedDPOTrainer(DPOTrainer):  # type: ignore[misc]
        """TRL's trainer on rows that are encoded already.

        TRL 1.16 would encode prompt + answer as one text; where their border merges into one token it leaves the end of
        the prompt out, and trains on a context that the model never sees when it is asked.
        """

        def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
            return dataset

    return EncodedDPOTrainer
