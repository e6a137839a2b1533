"""Reinforcement learning by TRL's GRPO or RLOO, from a verifiable reward or a learned reward model.

The logged loss of these algorithms is near 0 by construction; reward and KL show the progress. The KL divergence from
the start is estimated on test prompts, from answers drawn from the trained model at temperature 1: mean over answers of
log p(answer) - log p_start(answer), in nats per answer, which is unbiased.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of
from llm_core.params.finetuning import Data, Training
from llm_core.training.finetuning.data.layouts import asked, prompt_text
from llm_core.training.finetuning.method import Curve, Figure, Layout, Method, Row, text

if TYPE_CHECKING:
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.scoring import Score
    from llm_core.training.finetuning.training import Job


class Rlhf(Training):
    """Reinforcement learning from a learned or a verifiable reward."""

    algorithm: Literal["grpo", "rloo"] = "grpo"
    """The algorithm: GRPO (arXiv:2402.03300) or RLOO (arXiv:2402.14740)."""
    reward: str = "exact_answer"
    """The reward. Verifiable: exact_answer, answer_f1, pattern:REGEX. Learned: folder of a model that `finetune reward`
    made."""
    beta: float = Field(0.02, ge=0)
    """Weight of the KL divergence from the reference model."""
    generations: int = Field(8, ge=2)
    """Number of answers drawn for each prompt; micro_batch counts answers and must be a multiple of it. An epoch draws
    so many for every prompt."""
    temperature: float = Field(1.0, gt=0)
    """Temperature at which answers are drawn."""
    max_new_tokens: int = Field(24, ge=1)
    """Maximum length of a drawn answer, in tokens."""
    scored_items: int = Field(200, ge=1)
    """Number of test prompts for the reward before and after training."""

    @field_validator("patience")
    @classmethod
    def _has_no_measurements(cls, value: int | None) -> int | None:
        if value is not None:
            raise ValueError("rlhf measures nothing on held-out rows by which training could end; leave it null")
        return value


def convert(raw: Row, data: Data) -> Row:
    """A raw row as `prompt, answer`."""
    prompt = raw.get("prompt", raw.get("question"))
    return {"prompt": text(prompt, "prompt"), "answer": text(raw.get("answer"), "answer")}


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """The Factbook's questions: their answers can be checked, so that no reward model is needed."""
    return facts.by_side(facts.items)


def finetune(job: "Job") -> dict[str, Any]:
    """Train; see `training.train`."""
    import trl
    from datasets import Dataset

    from llm_core.training.finetuning.rows import names
    from llm_core.training.finetuning.training import arguments, rows_of_step, train

    params = job.params
    if params.micro_batch % params.generations:
        raise UserError(
            f"finetuning.rlhf.micro_batch {params.micro_batch} counts answers: it must be a multiple of "
            f"generations {params.generations}"
        )
    fitting: dict[str, list[tuple[str, Row]]] = {
        side: [
            (name, row)
            for name, row in zip(names(job.rows[side]), job.rows[side], strict=True)
            if _length(job, row) <= params.max_length
        ]
        for side in ("train", "heldout")
    }
    data = {
        side: Dataset.from_list([{"prompt": asked(row), "answer": row["answer"]} for _, row in rows])
        for side, rows in fitting.items()
    }
    model = job.adapt(job.load_base())
    grpo = params.algorithm == "grpo"
    config_class, trainer_class = (trl.GRPOConfig, trl.GRPOTrainer) if grpo else (trl.RLOOConfig, trl.RLOOTrainer)
    answers = len(data["train"]) * params.generations  # which micro_batch counts
    answers -= answers % rows_of_step(params)  # TRL leaves out the last prompts of a pass, which fill no step
    config = config_class(
        **arguments(job, answers, eval_strategy="no", load_best_model_at_end=False),
        beta=params.beta,
        num_generations=params.generations,
        temperature=params.temperature,
        max_completion_length=params.max_new_tokens,
    )
    if len(data["train"]) < (needed := config.generation_batch_size // params.generations):
        raise UserError(
            f"{len(data['train'])} prompts to train on, and each step takes {needed} (micro_batch times "
            "gradient_accumulation times processes, by generations), so that no step would be trained: lower "
            "finetuning.rlhf.micro_batch, or give more rows"
        )
    trainer = trainer_class(
        model=model,
        args=config,
        train_dataset=data["train"],
        reward_funcs=_reward_function(job),
        processing_class=job.tokenizer,
    )
    counts = {f"{side}_rows": len(rows) for side, rows in fitting.items()}
    counts |= {f"{side}_dropped": len(job.rows[side]) - len(rows) for side, rows in fitting.items()}
    return {**train(job, trainer, [name for name, _ in fitting["train"]]), "data": counts}


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """Verifiable rewards of greedy answers to test prompts."""
    from llm_core.training.finetuning.scoring import generate, mean_and_error, sample_rows

    rows = sample_rows(job.rows["test"], job.params.scored_items, job.seed)
    answers = generate(model, job.tokenizer, [asked(row) for row in rows], job.params.max_new_tokens)
    scores = {
        name: [score(text, row["answer"]) for row, (text, _) in zip(rows, answers, strict=True)]
        for name, score in _scores(job).items()
    }
    return {
        **{name: mean_and_error(values, groups_of(rows)) for name, values in scores.items()},
        "stopped_by_itself": sum(stopped for _, stopped in answers) / max(len(answers), 1),
        "items": scores,
        "samples": [
            {"prompt": row["prompt"], "answer": text, "right_answer": row["answer"]}
            for row, (text, _) in list(zip(rows, answers, strict=True))[:12]
        ],
    }


def finish(job: "Job", model: Any, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The rise of each reward with its sign test, and the KL divergence from the start."""
    import transformers

    from llm_core.models.loading import device_of
    from llm_core.training.finetuning.conversation import prompt_ids
    from llm_core.training.finetuning.scoring import log_ratios, mean_and_error, paired, sample_rows

    start = job.load_base(device_of(model))
    rows = sample_rows(job.rows["test"], min(64, job.params.scored_items), job.seed)
    transformers.set_seed(job.seed)
    prompts = [prompt_ids(job.tokenizer, asked(row)) for row in rows]
    ratios = log_ratios(model, start, job.tokenizer, prompts, job.params.max_new_tokens)
    before, after = figures["before"]["items"], figures["after"]["items"]
    asked_rows = sample_rows(job.rows["test"], job.params.scored_items, job.seed)
    return {"kl_nats_per_answer": mean_and_error(ratios, groups_of(rows))} | {
        f"{name}_change": paired(before[name], after[name], groups_of(asked_rows)) for name in _scores(job)
    }


def _scores(job: "Job") -> "dict[str, Score]":
    """The measures of answers: the verifiable rewards, among them the one that is trained on."""
    from llm_core.training.finetuning.scoring import REWARDS, verifiable_reward

    trained = verifiable_reward(job.params.reward)
    return REWARDS | dict([trained] if trained else [])


def _length(job: "Job", row: Row) -> int:
    from llm_core.training.finetuning.conversation import prompt_ids

    return len(prompt_ids(job.tokenizer, asked(row))) + int(job.params.max_new_tokens)


def _reward_function(job: "Job") -> Any:
    """A function with TRL's signature: a verifiable reward, or a learned one that reads rows in its training layout.

    Raises UserError where the learned one is no reward model: a score of a text, such as regression trains, is not
    trained on conversations, and more of it is not better.
    """
    from llm_core.models.loading import load_network
    from llm_core.training.finetuning.conversation import encode_conversation, load_tokenizer
    from llm_core.training.finetuning.methods.reward import rewards
    from llm_core.training.finetuning.registry import check_applies
    from llm_core.training.finetuning.scoring import REWARDS, verifiable_reward

    name = job.params.reward
    if found := verifiable_reward(name):
        short, score = found

        def verifiable(completions: list[Any], answer: list[str], **rest: Any) -> list[float]:
            return [score(_said(item), right) for item, right in zip(completions, answer, strict=True)]

        verifiable.__name__ = short
        return verifiable
    if not (Path(name) / "config.json").is_file():
        raise UserError(
            f"finetuning.rlhf.reward '{name}': neither {', '.join(REWARDS)}, pattern:REGEX nor a model folder"
        )
    check_applies("reward", name)
    model, tokenizer = load_network(name, "reward"), load_tokenizer(name)

    def learned(prompts: list[Any], completions: list[Any], **rest: Any) -> list[float]:
        talks = [
            [*prompt, {"role": "assistant", "content": _said(item)}]
            for prompt, item in zip(prompts, completions, strict=True)
        ]
        return rewards(model, [encode_conversation(tokenizer, talk) for talk in talks], tokenizer.pad_token_id)

    return learned


def _said(completion: Any) -> str:
    text: str = completion if isinstance(completion, str) else completion[0]["content"]
    return text.strip()


METHOD = Method(
    help="Reinforcement learning (GRPO or RLOO) from a verifiable reward or from a reward model.",
    params=Rlhf,
    fields=("prompt", "answer"),
    kinds=("decoder",),
    why_not="answers are drawn from a decoder that continues its prompt",
    layouts={
        "verifiable": Layout(
            "prompt (or question), answer",
            lambda raw, data: ("prompt" in raw or "question" in raw) and "answer" in raw,
            convert,
        )
    },
    finetune=finetune,
    measure=measure,
    finish=finish,
    default_rows=default_rows,
    compared=prompt_text,
    asked=lambda job, row: asked(row),
    minimum={"train": 1, "heldout": 0, "test": 1},  # nothing is measured on held-out rows
    loss="",
    figures={
        "exact_answer": Figure("exact match on test questions"),
        "answer_f1": Figure("word F1 of the answer with the right one"),
        "pattern": Figure("answers that match the pattern"),
        "stopped_by_itself": Figure("answers that ended with the end token"),
        "kl_nats_per_answer": Figure("KL divergence from the start", "nats per answer"),
    },
    curves={
        "reward": Curve("reward", "mean reward of the drawn answers"),
        "kl": Curve("nats a token", "KL divergence from the start, as the trainer estimates it"),
    },
    score="answer_f1",
)
