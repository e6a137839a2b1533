"""Direct preference optimization by TRL's DPOTrainer.

The reference is the model before training: a copy for full finetuning, otherwise the base without its adapters.
The win rate is judged by word F1 (SQuAD's) of the greedy answer against the chosen one; equal scores are ties.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from llm_core.evaluation.results import groups_of
from llm_core.params.finetuning import Training
from llm_core.training.finetuning.data.layouts import PREFERENCES, asked, prompt_text
from llm_core.training.finetuning.method import Curve, Figure, Method, Row
from llm_core.training.finetuning.methods import reward

if TYPE_CHECKING:
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.preferences import Pair
    from llm_core.training.finetuning.training import Job


class Dpo(Training):
    """Direct preference optimization (arXiv:2305.18290)."""

    beta: float = Field(0.1, gt=0)
    """Strength of the pull towards the reference model."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of the chosen answers' cross-entropy beside DPO's loss (arXiv:2404.19733). DPO alone is satisfied
    if both answers lose probability, the rejected one faster; the model may then produce neither."""
    scored_items: int = Field(150, ge=0)
    """Number of test prompts that are answered before and after training, for the win rate."""
    max_new_tokens: int = Field(24, ge=1)
    """Maximum length of a generated answer, in tokens."""


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """The Factbook's preferences."""
    return facts.preferences()


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    from datasets import Dataset
    from trl import DPOConfig

    from llm_core.training.finetuning.preferences import encode_pairs, in_order, summary
    from llm_core.training.finetuning.training import arguments, train

    pairs = {side: encode_pairs(job, side) for side in ("train", "heldout")}
    ordered = in_order(job, pairs)
    data = {side: Dataset.from_list([trl_row(pair) for pair in found]) for side, found in ordered.items()}
    model = job.adapt(job.load_base())
    common = arguments(job, len(data["train"]), train_sampling_strategy="sequential")
    losses = {"sigmoid": 1.0} | ({"sft": job.params.sft_weight} if job.params.sft_weight else {})
    terms = {"loss_type": list(losses), "loss_weights": list(losses.values())}
    config = DPOConfig(**common, **terms, beta=job.params.beta, max_length=None)
    trainer = _trainer_class()(
        model, args=config, train_dataset=data["train"], eval_dataset=data["heldout"], processing_class=job.tokenizer
    )
    return {**train(job, trainer, [pair["name"] for pair in ordered["train"]]), "data": summary(pairs)}


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """On test pairs: how often the chosen answer is the likelier one, the log-probability margin, judged answers."""
    from llm_core.evaluation.answer_matching import answer_f1
    from llm_core.training.finetuning.preferences import encode_pairs
    from llm_core.training.finetuning.scoring import answer_logps, generate, mean_and_error, sample_rows

    pairs, _ = encode_pairs(job, "test")
    pad = job.tokenizer.pad_token_id
    chosen = answer_logps(model, [pair["chosen"] for pair in pairs], pad)
    rejected = answer_logps(model, [pair["rejected"] for pair in pairs], pad)
    margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
    right = [float(margin > 0) for margin in margins]
    groups = groups_of([pair["row"] for pair in pairs])
    rows = sample_rows(job.rows["test"], job.params.scored_items, job.seed)
    prompts = [asked(row) for row in rows]
    answers = generate(model, job.tokenizer, prompts, job.params.max_new_tokens) if rows else []
    judged = [answer_f1(text, row["chosen"]) for row, (text, _) in zip(rows, answers, strict=True)]
    return {
        "accuracy": mean_and_error(right, groups),
        "margin": mean_and_error(margins, groups),
        "answer_f1": mean_and_error(judged, groups_of(rows)),
        "items": {"accuracy": right, "margins": margins, "judged": judged, "rows": [pair["name"] for pair in pairs]},
        "samples": [
            {"prompt": row["prompt"], "answer": text, "right_answer": row["chosen"]}
            for row, (text, _) in list(zip(rows, answers, strict=True))[:12]
        ],
    }


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Changes on the same items: accuracy, DPO's margin (reward difference, beta times log ratios), win rate."""
    from llm_core.training.finetuning.preferences import encode_pairs
    from llm_core.training.finetuning.scoring import mean_and_error, paired, sample_rows, summed

    before, after = figures["before"]["items"], figures["after"]["items"]
    wins = sum(b > a for a, b in zip(before["judged"], after["judged"], strict=True))
    losses = sum(b < a for a, b in zip(before["judged"], after["judged"], strict=True))
    ties = len(before["judged"]) - wins - losses
    groups = groups_of([pair["row"] for pair in encode_pairs(job, "test")[0]])
    judged = groups_of(sample_rows(job.rows["test"], job.params.scored_items, job.seed))
    rises = summed([b - a for a, b in zip(before["judged"], after["judged"], strict=True)], judged)
    margins = [job.params.beta * (b - a) for a, b in zip(before["margins"], after["margins"], strict=True)]
    return {
        "accuracy_change": paired(before["accuracy"], after["accuracy"], groups),
        "dpo_margin": mean_and_error(margins, groups) | {"p_value": _sign_test(summed(margins, groups))},
        "win_rate": {
            "wins": wins,
            "losses": losses,
            "ties": ties,
            "rate": (wins + ties / 2) / max(wins + losses + ties, 1),
            "p_value": _sign_test(rises),
            "judge": "answer_f1 against the chosen answer",
        },
    }


def _sign_test(changes: list[float]) -> float:
    """The p-value of a rise, by the signs of changes."""
    from llm_core.training.finetuning.scoring import sign_test

    return sign_test(sum(one > 0 for one in changes), sum(one < 0 for one in changes))


def trl_row(pair: "Pair") -> Row:
    """A pair as TRL's collator reads it: ids of the prompt and of each answer.

    Prompt and answer are split at a token boundary.
    """
    from llm_core.training.finetuning.conversation import IGNORED

    ids, labels = pair["chosen"]["input_ids"], pair["chosen"]["labels"]
    prompt = len(labels) - labels[::-1].index(IGNORED)  # after the last token that is in no answer
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
        the prompt out, and trains on a context that the model never gets at inference.
        """

        def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
            return dataset

    return EncodedDPOTrainer


METHOD = Method(
    help="Direct preference optimization: chosen answers become likelier than rejected ones, without a reward model.",
    params=Dpo,
    fields=("prompt", "chosen", "rejected"),
    kinds=("decoder",),
    why_not="TRL's DPO needs a decoder's probabilities of an answer after its prompt",
    layouts=PREFERENCES,
    finetune=finetune,
    measure=measure,
    finish=finish,
    baseline=reward.baseline,
    default_rows=default_rows,
    compared=prompt_text,
    asked=lambda job, row: asked(row),
    loss="nats per pair",
    figures={
        "accuracy": Figure("test pairs whose chosen answer is the likelier one"),
        "margin": Figure("log-probability of the chosen answer minus that of the rejected one", "nats"),
        "answer_f1": Figure("word F1 of the answer with the chosen one"),
        "dpo_margin": Figure("DPO's margin", "nats times beta"),
        "win_rate": Figure("win rate against the start"),
        **reward.BASELINES,
    },
    curves={
        "eval_rewards/margins": Curve("margin", "DPO's margin on held-out pairs"),
        "eval_loss": Curve("loss", "held-out loss"),
    },
    score="accuracy",
)
