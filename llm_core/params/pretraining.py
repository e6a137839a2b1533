"""Params of pretraining."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from llm_core.params.base import Section, Weights
from llm_core.params.model import RopeScaling


class Optimizer(Section):
    """The optimizer and its schedule."""

    name: Literal["adamw", "muon", "normuon"] = "adamw"
    """The optimizer. muon: orthogonalised momentum for the blocks' matrices, AdamW for everything else. normuon: the
    same, with rows scaled by their second moments; needs pretraining.zero_stage 0."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of AdamW; null to derive it from model.scale."""
    muon_learning_rate: float = Field(0.02, gt=0)
    """Peak learning rate of the matrices under muon and normuon."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of AdamW's first and second moments."""
    momentum: float = Field(0.95, ge=0, lt=1)
    """Momentum of muon and normuon."""
    momentum_warmup_steps: int = Field(0, ge=0)
    """Number of steps in which that momentum rises linearly from 0.85, or stays where it is below that."""
    second_momentum: float = Field(0.95, ge=0, lt=1)
    """Decay of the second moments of rows under normuon."""
    epsilon: float = Field(1e-8, gt=0)
    """AdamW's epsilon."""
    weight_decay: float = Field(0.1, ge=0)
    """Decoupled weight decay of matrices; vectors (norms, biases) are not decayed."""
    cautious_decay: bool = False
    """Whether only weights that the step moves towards zero in any case are decayed."""
    clip: float = Field(1.0, ge=0)
    """Maximum norm of the gradient of all weights; a larger one is scaled down to it; 0 for no clipping. Muon ignores
    it, because its updates have a fixed size."""
    schedule: Literal["cosine", "wsd", "linear"] = "cosine"
    """Learning rate after the warm-up: cosine, linear, or wsd (warmup-stable-decay: constant, then a linear decay)."""
    warmup_steps: int = Field(20, ge=0)
    """Number of steps in which the learning rate rises linearly."""
    decay_share: float = Field(0.2, gt=0, le=1)
    """Share of the steps that the final decay of the schedule wsd takes."""
    final_share: float = Field(0.1, ge=0, le=1)
    """Learning rate at the end, as a share of the peak."""

    @model_validator(mode="after")
    def _momentum_is_of_muon(self) -> "Optimizer":
        if self.momentum_warmup_steps and self.name == "adamw":
            raise ValueError("momentum_warmup_steps is of muon and normuon, and has no effect with adamw; set it to 0")
        return self


class Mixture(Section):
    """Shares of the sources in the training tokens, drawn while they are loaded."""

    weights: Annotated[Weights, Field(min_length=1)] | None = None
    """Source to its weight; sources not named are left out. {domain: 0.9, general: 0.1} replays a tenth of general text
    in a continued training."""
    epochs: Annotated[Weights, Field(min_length=1)] | None = None
    """In place of weights: source to how often it is read compared with the others; sources not named are left out.
    {web: 1, handbook: 3} reads each document of the handbook three times as often as one of the web."""
    max_epochs: float = Field(4.0, gt=0)
    """Maximum number of times that a run reads one source; a run that would need more is an error."""
    min_tokens: int = Field(0, ge=0)
    """Minimum number of tokens of a document; shorter ones are left out. For a phase that teaches long contexts."""
    whole_documents: bool = False
    """Leave out documents that are longer than a training sequence, so that none is cut. Needs packing best_fit."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "Mixture":
        if (self.weights is None) == (self.epochs is None):
            raise ValueError("a mixture has either weights or epochs")
        return self


class Phase(Section):
    """One phase of a pretraining, for example short sequences first, long ones at the end, or other data at the end."""

    name: Annotated[str, Field(min_length=1)] = ...  # type: ignore[assignment]
    """Name of the phase, in the log and in the figures."""
    share: float | None = Field(None, gt=0)
    """Share of pretraining.steps, relative to the shares of the other phases. Each phase has either this, `steps` or
    `tokens`; with shares, a change of pretraining.steps changes all phases."""
    steps: int | None = Field(None, ge=1)
    """Number of optimizer steps."""
    tokens: int | None = Field(None, ge=1)
    """Number of tokens, padding included, rounded to whole steps."""
    sequence_length: int | None = Field(None, ge=8)
    """Length of a training sequence in tokens; null takes pretraining.sequence_length."""
    batch_tokens: int | None = Field(None, ge=8)
    """Number of tokens in a step; null takes pretraining.batch_tokens."""
    mixture: Mixture | None = None
    """Shares of the sources in the phase's tokens; null goes on in the run's own data where the phase before left
    off."""
    learning_rate: float = Field(1.0, gt=0)
    """Factor of the learning rates that the run's schedule gives."""
    rope_theta: float | None = Field(None, gt=0)
    """Base of the rotary wavelengths from this phase on; null keeps that of the phase before, at first the model's.
    A larger base is for longer sequences."""
    rope_scaling: RopeScaling | None = None
    """How rotary positions are stretched from this phase on, for example {rope_type: yarn, factor: 4}; null keeps them
    as they are in the phase before. The positions before stretching are, where it names none, those of the longest
    sequence so far. The finished model has the rotary positions of the last phase."""

    @model_validator(mode="after")
    def _one_length(self) -> "Phase":
        if sum(value is not None for value in (self.share, self.steps, self.tokens)) != 1:
            raise ValueError(f"phase {self.name} needs one of share, steps and tokens")
        return self


class Pretraining(Section):
    """Knobs of pretraining."""

    version: int = 1
    """Raise it when the code changes what training computes by more than rounding, in which processors differ, too: the
    stage and kept checkpoints depend on this number, not on the code."""
    steps: int | None = Field(None, ge=1)
    """Number of optimizer steps; null derives it from model.scale (20 tokens per parameter), or from `phases`
    that have their own."""
    phases: tuple[Phase, ...] = ()
    """Phases of the run, one after the other, each with its own sequence length, batch, data and learning rate. The
    schedule of the learning rate goes over the tokens of all of them. Empty: one phase of `steps` steps."""
    sequence_length: int = Field(512, ge=8)
    """Length of a training sequence in tokens, where a phase has no other."""
    batch_tokens: int | None = Field(None, ge=8)
    """Number of tokens in a step over all processes, padding included; null derives it from model.scale."""
    micro_batch: int = Field(8, ge=1)
    """Maximum number of sequences of `sequence_length` in one forward pass of a process, or as many tokens of a phase's
    other length; a step accumulates several passes."""
    packing: Literal["best_fit", "concatenate"] = "best_fit"
    """How documents share sequences: best_fit cuts as few as possible, concatenate puts them end to end."""
    mixture: Mixture | None = None
    """Shares of the sources in the training tokens; null reads every document once an epoch."""
    document_mask: bool = False
    """Whether documents that share a sequence are kept apart in attention and positions start anew for each."""
    optimizer: Optimizer = Optimizer()
    z_loss: float = Field(0.0, ge=0)
    """Weight of (log of the softmax's normaliser) squared, which keeps logits from drifting (PaLM: 1e-4)."""
    spike_sigma: float = Field(6.0, ge=0)
    """Skip a step whose loss exceeds the running mean by more than this many standard deviations; 0 never skips."""
    mask_share: float = Field(0.15, gt=0, lt=1)
    """Share of the tokens that the masked (bert) and span-corruption (t5) objectives predict."""
    span_length: float = Field(3.0, ge=1)
    """Mean length of a corrupted span in tokens (t5)."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the processor multiplies it in hardware, else fp32. bf16 is autocast: weights stay fp32."""
    loss_chunk: int = Field(512, ge=0)
    """Number of tokens whose logits are held in memory at a time; 0 computes all logits at once."""
    compile: bool | Literal["auto"] = "auto"
    """Compile the blocks with torch.compile. auto: on a GPU, and in bf16 on a CPU where the run is so long that it
    saves more time than the compilation takes (docs/explanation/pretraining.md); not with processes that exchange parts
    inside a block (zero_stage 3, sequence_parallel)."""
    profile_steps: tuple[int, int] | None = None
    """Record these steps (first and last, from 1) with torch's profiler, into .scratch/profiles."""
    zero_stage: int = Field(1, ge=0, le=3)
    """DeepSpeed ZeRO stage: 0 partitions nothing, 1 the optimizer states, 2 also gradients, 3 also weights."""
    offload: Literal["none", "optimizer", "optimizer+weights"] = "none"
    """What ZeRO keeps in host memory (GPU training; weights only with stage 3)."""
    deepspeed: dict[str, Any] = Field(default_factory=dict)
    """Further keys of DeepSpeed's config, such as ZeRO++ or offload to NVMe, as its documentation names them. A key
    that DeepSpeed does not have is an error, and so is one that another param decides."""
    activation_checkpointing: bool = False
    """Keep only the blocks' inputs and recompute the rest: less memory, a third more time."""
    sequence_parallel: int = Field(1, ge=1)
    """Number of processes that share each sequence (DeepSpeed Ulysses): each holds a stretch of it, and all of a share
    of the heads in attention. It must divide the processes, the heads and the sequences."""
    checkpoint_every: int = Field(50, ge=1)
    """Number of steps between checkpoints (in .scratch, not a stage output)."""
    checkpoints_kept: int = Field(2, ge=1)
    """Number of the newest checkpoints that are kept."""
    extendable: bool = False
    """Whether the checkpoint before the decay of the schedule wsd stays in .scratch after the run, so that the same run
    with more steps goes on from it. It takes the disk space of one checkpoint."""
    early_stopping: int = Field(0, ge=0)
    """Training ends when so many measurements in a row (evaluate_every) were no better than the best before them; 0
    never ends it early."""
    snapshot_every: int = Field(0, ge=0)
    """Number of steps between models that are kept in the output's folder `snapshots`, for `llm-core merge --last`; 0
    keeps none. The finished model is not kept twice."""
    shard_bytes: int = Field(5_000_000_000, ge=1)
    """Maximum size of one file of the model's weights; a larger model is written as several, with an index. At ZeRO
    stage 3 the processes share the files among them."""
    evaluate_every: int = Field(100, ge=1)
    """Number of steps between measurements of held-out bits per byte."""
    evaluate_tokens: int = Field(20_000, ge=1)
    """Number of held-out tokens of each source for a measurement during training."""
    evaluate_tokens_final: int = Field(100_000, ge=1)
    """Number of held-out tokens of each source for the last measurement, which gives the figures in metrics.json."""
    log_every: int = Field(10, ge=1)
    """Number of steps between rows of the training log."""
    sample_every: int = Field(100, ge=0)
    """Number of steps between generated samples in the log; 0 for none."""
    sample_prompts: tuple[str, ...] = ("The",)
    """Beginnings of texts that the samples continue."""
    sample_tokens: int = Field(40, ge=1)
    """Length of a sample in tokens."""
    parent: str | None = None
    """A model folder, or the name of an open model, whose weights training starts from (continued pretraining). The
    architecture is the parent's, so leave `model` out; null for random weights."""
    grow_vocabulary: bool = False
    """Whether the parent gets embeddings for tokens that only the tokenizer has (tokenizer.add_tokens); each new row is
    the mean of the old ones."""

    @property
    def extends_context(self) -> bool:
        """Whether a phase changes the rotary positions."""
        return any(phase.rope_theta or phase.rope_scaling for phase in self.phases)

    @property
    def longest_sequence(self) -> int:
        """Length of the longest training sequence of any phase."""
        return max(
            (phase.sequence_length or self.sequence_length for phase in self.phases), default=self.sequence_length
        )

    @model_validator(mode="after")
    def _a_longer_run_begins_alike(self) -> "Pretraining":
        if self.extendable and self.optimizer.schedule != "wsd":
            raise ValueError(
                "extendable needs optimizer.schedule wsd: with another one a longer run has other learning rates from "
                "its start"
            )
        if self.extendable and self.optimizer.final_share == 1:
            raise ValueError("extendable: with optimizer.final_share 1 there is no decay before which a run goes on")
        if self.extendable and (self.phases or self.mixture):
            raise ValueError("extendable: phases and a mixture are laid out for the length of a run; leave them out")
        return self

    @model_validator(mode="after")
    def _phases_decide_the_steps(self) -> "Pretraining":
        if not self.phases:
            return self
        shares = [phase.share is not None for phase in self.phases]
        if any(shares) and not all(shares):
            raise ValueError("either all phases have a share of pretraining.steps, or each has its own steps or tokens")
        if not any(shares) and self.steps is not None:
            raise ValueError(
                "steps follow from the phases: leave pretraining.steps null, give the phases shares, or remove them"
            )
        names = [phase.name for phase in self.phases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two phases have the name {twice[0]}")
        return self
