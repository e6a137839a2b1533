"""Params of finetuning: which methods the graph runs, and the knobs of each.

`methods` is what dvc.yaml iterates over: the method's name and the model it starts from.
Each method's own section sits beside it, so that a stage depends on its own knobs alone.
"""

from typing import Literal

from pydantic import Field, model_validator

from llm_core.params.base import Section

Method = Literal["classification", "instruction", "reward", "dpo", "rlhf", "contrastive"]


class Parent(Section):
    """Where a method of the default graph starts."""

    parent: str = "base"
    """Folder under data/models that the method finetunes."""


class Lora(Section):
    """Low-rank adapters (LoRA, arXiv:2106.09685)."""

    rank: int = Field(8, ge=1)
    """Rank of the update of each adapted matrix."""
    alpha: int = Field(16, ge=1)
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the adapted layers; all-linear is every linear layer but the head."""


class Data(Section):
    """How data sets are read, checked and split."""

    format: Literal[
        "auto", "classification", "alpaca", "messages", "sharegpt", "pairs", "preference", "hh-rlhf", "verifiable"
    ] = "auto"
    """Layout of the rows; auto looks at the first rows' fields."""
    text_field: str | None = None
    """Classification: the field with the text; None tries text, sentence, content, review, message."""
    label_field: str | None = None
    """Classification: the field with the label; None tries label, category, class, topic, section."""
    heldout_share: float = Field(0.1, gt=0, lt=0.5)
    """Share for early stopping and calibration, where the data set has no split of its own."""
    test_share: float = Field(0.1, gt=0, lt=0.5)
    """Share for the figures that are reported."""
    near_duplicate_similarity: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word 3-grams above which a test or held-out row leaves, as a training row's twin."""
    maximum_bad_rows: float = Field(0.01, ge=0, le=1)
    """Share of unreadable rows that is tolerated (each is counted, the first ones are named)."""
    maximum_rows: int | None = Field(None, ge=1)
    """Use only so many rows, drawn by the seed."""
    open_variants: int = Field(2, ge=0)
    """Factbook: questions with context for each fact, beside the one without."""


class Training(Section):
    """What every method's training has in common."""

    version: int = 1
    """Raise when a change of code changes what training computes: the stage then runs again."""
    adapter: Literal["full", "lora", "qlora"] = "full"
    """Train all weights, low-rank adapters, or low-rank adapters on a base in 4 bits (NF4)."""
    lora: Lora = Lora()
    qlora_fallback: bool = False
    """Where 4 bits cannot run on this processor, use LoRA instead of stopping."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the training rows."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after so many optimizer steps."""
    micro_batch: int = Field(16, ge=1)
    """Rows of one forward pass on one process."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes before each optimizer step."""
    learning_rate: float = Field(5e-4, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay."""
    warmup_share: float = Field(0.05, ge=0, le=1)
    """Share of the steps in which the learning rate rises linearly."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    """Learning rate after the warm-up."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    max_length: int = Field(256, ge=8)
    """Longest row in tokens."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in the forward pass; bfloat16 keeps float32 masters under ZeRO."""
    zero_stage: Literal[0, 1, 2, 3] | None = 1
    """DeepSpeed ZeRO stage; None trains without DeepSpeed."""
    processes: int = Field(1, ge=1)
    """Processes on this machine, started by torchrun."""
    evaluations: int = Field(4, ge=1)
    """Times that the held-out loss is measured (and a checkpoint written) during training."""
    heldout_rows: int | None = Field(None, ge=1)
    """Measure on so many held-out rows, drawn by the seed, instead of all; each measurement takes that much less."""
    patience: int | None = Field(None, ge=1)
    """Early stopping: measurements without a better held-out loss; the best weights are kept."""


class Instruction(Training):
    """Supervised finetuning on conversations (SFT)."""

    too_long: Literal["drop", "trim_prompt", "refuse"] = "drop"
    """Rows over max_length: leave them out (counted), cut the prompt's beginning, or stop. Answers are never cut."""
    packing: bool = False
    """Pack rows into sequences of max_length; they do not see each other."""
    scored_items: int = Field(300, ge=0)
    """Test questions answered before and after, for exact match."""
    max_new_tokens: int = Field(24, ge=1)
    """Longest answer generated for scoring."""


class Classification(Training):
    """A softmax head on the last token (decoders) or the first (encoders)."""

    class_weights: Literal["none", "balanced"] = "balanced"
    """Balanced weighs each class by the inverse of its frequency."""


class Reward(Training):
    """A scalar head trained on preferences (Bradley-Terry)."""

    center_rewards: float = Field(0.01, ge=0)
    """Pull towards rewards of mean zero (arXiv:2312.09244)."""


class Dpo(Training):
    """Direct preference optimization (arXiv:2305.18290)."""

    beta: float = Field(0.1, gt=0)
    """Weight of staying near the reference model."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of the chosen answers' cross-entropy beside DPO's loss (arXiv:2404.19733). DPO alone is content when both
    answers get less likely, the wrong one faster, and what is then said can be neither."""
    scored_items: int = Field(150, ge=0)
    """Held-out prompts answered before and after, for the win rate."""
    max_new_tokens: int = Field(24, ge=1)
    """Longest answer generated for scoring."""


class Rlhf(Training):
    """Reinforcement learning from a learned or a verifiable reward."""

    algorithm: Literal["grpo", "rloo"] = "grpo"
    """GRPO (arXiv:2402.03300) or RLOO (arXiv:2402.14740)."""
    reward: str = "exact_answer"
    """Verifiable: exact_answer, answer_f1, pattern:REGEX. Learned: the folder of a model made by `finetune reward`."""
    beta: float = Field(0.02, ge=0)
    """Weight of the KL divergence from the reference model."""
    generations: int = Field(8, ge=2)
    """Answers drawn for each prompt; micro_batch counts answers and is a multiple of it."""
    temperature: float = Field(1.0, gt=0)
    """Of the drawn answers."""
    max_new_tokens: int = Field(24, ge=1)
    """Longest answer."""
    scored_items: int = Field(200, ge=1)
    """Held-out prompts for the reward before and after."""


class Contrastive(Training):
    """A sentence encoder, by InfoNCE over in-batch negatives (arXiv:2004.04906)."""

    micro_batch: int = Field(64, ge=2)
    """Pairs of one forward pass on one process; a query's negatives are the other pairs' passages, on all processes."""
    temperature: float = Field(0.05, gt=0)
    """Similarities are divided by it; the smaller, the more the nearest wrong passages count."""


class Finetuning(Section):
    """Knobs of finetuning."""

    methods: dict[Method, Parent] = Field(default_factory=dict)
    """The methods that the graph runs, and the model each starts from."""
    on_demand: dict[Method, Parent] = Field(default_factory=dict)
    """The methods of experiments/finetuning/dvc.yaml, which `dvc repro` runs only when asked for them."""
    data: Data = Data()
    classification: Classification = Classification()
    instruction: Instruction = Instruction()
    reward: Reward = Reward()
    dpo: Dpo = Dpo()
    rlhf: Rlhf = Rlhf()
    contrastive: Contrastive = Contrastive()

    @model_validator(mode="after")
    def _one_stage_a_method(self) -> "Finetuning":
        if twice := sorted(self.methods.keys() & self.on_demand.keys()):
            raise ValueError(f"{twice[0]} is in methods and in on_demand; one stage alone can write its model")
        return self
