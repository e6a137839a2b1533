"""Builds a `Training` that is ready to run from params: network, optimizer, engine, data."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.models import loading, networks
from llm_core.models.family import MASK_TOKEN, Family, Vocabulary, family, family_of
from llm_core.models.language_model import LanguageModel
from llm_core.models.lean import lean
from llm_core.models.loading import context_of, read_config
from llm_core.models.scale import horizon
from llm_core.models.vocabulary import grow, rows
from llm_core.params import Params
from llm_core.params.pretraining import Pretraining
from llm_core.runtime import progress
from llm_core.tracking import runs
from llm_core.training.pretraining import partitioned, sequence_parallel
from llm_core.training.pretraining.batches import Batches
from llm_core.training.pretraining.checkpoints import Checkpoints
from llm_core.training.pretraining.compiling import choose
from llm_core.training.pretraining.engine import Precision, World, deepspeed_config, initialize
from llm_core.training.pretraining.feed import Feed
from llm_core.training.pretraining.machine import flops_per_token, matmul_peak, multiplying_weights
from llm_core.training.pretraining.measure import Heldout, measured_rows
from llm_core.training.pretraining.objectives import Corruption
from llm_core.training.pretraining.optimizers import adamw, muon
from llm_core.training.pretraining.origins import check_parent_tokenizer, check_tokens, parent_config
from llm_core.training.pretraining.phases import PhasedBatches, Plan, plan_phases, rope_of_phases
from llm_core.training.pretraining.profiling import ProfilerWindow
from llm_core.training.pretraining.reporting import Reports
from llm_core.training.pretraining.run_log import RunLog
from llm_core.training.pretraining.schedule import stable_steps
from llm_core.training.pretraining.train import Training


def assemble(
    params: Params, tokens: Path, tokenizer_folder: Path, scratch: Path, precision: Precision, world: World,
    tracked: runs.Run,
) -> Training:  # fmt: skip
    """Build everything of a run. Raises UserError for settings that do not fit each other or the data."""
    world = replace(world, sequence=params.pretraining.sequence_parallel)
    config = start_config(params)
    described = family(params.model.family) if config is None else family_of(config)
    tokenizer, vocabulary, words = load_tokenizer(tokenizer_folder, described)
    train = TokenShards(tokens / "train" if (tokens / "train").is_dir() else tokens)
    check_tokens(train, tokenizer_folder)
    if train.vocab_size > words:
        raise UserError(f"{train.folder}: encoded with {train.vocab_size} tokens, the tokenizer has {words}")
    if params.pretraining.parent:
        check_parent_tokenizer(Path(params.pretraining.parent), tokenizer_folder, params.pretraining.grow_vocabulary)
    if config is None:
        with _partitioned(params.pretraining, precision, world):
            network = fresh_network(params, vocabulary)
    else:
        network = parent_network(params, config, vocabulary, len(tokenizer))
    with partitioned.whole(partitioned.vectors(network)):
        lean(network)
    sequence_parallel.check(params.pretraining, network, world.size)
    settings, plan = resolve(params.pretraining, network, world)
    heldout = _heldout(tokens, tokenizer_folder, settings, vocabulary.filler, params.seed, world)
    _check_length(settings, plan, heldout is not None)
    module = LanguageModel(network, settings.loss_chunk, settings.z_loss, settings.document_mask)
    if config is not None:
        module.probe()
    groups = sequence_parallel.share(network, world.sequence)
    module.stretch = world.sequence_rank if groups else None
    if settings.activation_checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    assert settings.optimizer.learning_rate
    build = adamw if settings.optimizer.name == "adamw" else muon
    optimizer = build(network, settings.optimizer, settings.optimizer.learning_rate)
    if settings.zero_stage == 0:
        optimizer.clip = settings.optimizer.clip if settings.optimizer.name == "adamw" else 0.0
    accumulation = max(phase.accumulation for phase in plan.phases)
    engine = initialize(module, optimizer, deepspeed_config(settings, precision, accumulation), groups)
    batches = _batches(train, plan, settings, params.seed, vocabulary.filler)
    marks = tuple(tokenizer.convert_tokens_to_ids(_marks(tokenizer, described)))
    corruption = Corruption(
        module.objective, params.seed, settings.mask_share, settings.span_length, vocabulary.filler, words, marks,
        described.training_inputs,
    )  # fmt: skip
    peak = matmul_peak(precision, engine.device.type)
    log = RunLog(scratch / "training_log.jsonl", world.main)
    reports = Reports(settings, plan, world, log, tracked, partial(flops_per_token, network), peak)
    parameters = sum(partitioned.size_of(parameter) for parameter in network.parameters())
    if world.main:
        in_steps = f"of {plan.phases[0].batch_tokens} tokens" if not settings.phases else f"({plan.tokens:,} tokens)"
        progress.log(
            f"pretrain {network.config.model_type}: {parameters:,} parameters, {plan.steps} steps "
            f"{in_steps} ({batches.epoch(plan.steps):.2f} epochs), {precision}, "
            f"ZeRO stage {settings.zero_stage}, {world.size} process(es) of {torch.get_num_threads()} thread(s), "
            f"{f'sequences shared by {world.sequence}, ' if groups else ''}"
            f"matmul peak {peak / 1e9:.0f} GFLOP/s a process"
        )
        figures = batches.mixture_figures(plan.steps)
        for name in (settings.mixture.weights or settings.mixture.epochs or {}) if settings.mixture else ():
            if f"mixture_share/{name}" in figures:
                share, epochs = (figures[f"mixture_{what}/{name}"] for what in ("share", "epochs"))
                progress.log(f"  {share:.1%} of the tokens are of source {name}, which is read {epochs:.2f} times")
    return Training(
        params=settings,
        seed=params.seed,
        plan=plan,
        engine=engine,
        optimizer=optimizer,
        batches=batches,
        corruption=corruption,
        feed=Feed(batches, corruption, plan, world, ahead=engine.device.type == "cuda"),
        heldout=heldout,
        checkpoints=Checkpoints(scratch, settings.checkpoints_kept, world.main),
        reports=reports,
        tokenizer=tokenizer,
        world=world,
        choice=choose(settings.compile, reports, network, engine.device, precision),
        ropes=rope_of_phases(settings, network.config, _positions(settings)),
        profiler=ProfilerWindow(settings.profile_steps, scratch.parents[1] / "profiles" / scratch.name, world.rank),
    )


def _partitioned(settings: Pretraining, precision: Precision, world: World) -> AbstractContextManager[None]:
    """Where a network is built of which each process holds a part: at ZeRO stage 3, on more than one process.

    In fp16 DeepSpeed would draw the weights in fp16, so a network is built whole there.
    """
    if settings.zero_stage < 3 or world.size == 1 or precision == "fp16":
        return nullcontext()
    return partitioned.building(deepspeed_config(settings, precision, 1))


def start_config(params: Params) -> Any:
    """The parent's config; None where training starts from random weights."""
    parent = params.pretraining.parent
    if not parent:
        return None
    settings = params.pretraining
    return parent_config(Path(parent), params.model, settings.longest_sequence, settings.extends_context)


def _positions(settings: Pretraining) -> int:
    """Number of positions that the parent was trained with; 0 without a parent, or for one that has no limit."""
    return (context_of(read_config(Path(settings.parent))) or 0) if settings.parent else 0


def load_tokenizer(folder: Path, described: Family) -> tuple[Any, Vocabulary, int]:
    """The tokenizer with the extra tokens of the objective, the vocabulary size with them, and the size without
    them."""
    tokenizer = loading.load_tokenizer(folder)
    if described.objective == "span" and tokenizer.pad_token_id is None:
        raise UserError(f"{folder}: needs a padding token, because the decoder of an encoder-decoder starts with it")
    words = len(tokenizer)
    known = tokenizer.get_vocab()
    extra = [name for name in _marks(tokenizer, described) if name not in known]
    if extra:
        tokenizer.add_special_tokens({"extra_special_tokens": extra}, replace_extra_special_tokens=False)
        if MASK_TOKEN in extra:
            tokenizer.mask_token = MASK_TOKEN
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    size = math.ceil(len(tokenizer) / 64) * 64
    return tokenizer, Vocabulary(size, tokenizer.bos_token_id, end, tokenizer.pad_token_id), words


def _marks(tokenizer: Any, described: Family) -> list[str]:
    """Names of the tokens that the objective needs: the tokenizer's own mask token where it has one."""
    if described.objective == "masked" and tokenizer.mask_token is not None:
        return [tokenizer.mask_token, *described.own_tokens]
    return described.extra_tokens


def fresh_network(params: Params, vocabulary: Vocabulary) -> Any:
    """The network that `model` describes, with random weights from the seed."""
    config = networks.build_config(params.model, vocabulary, params.pretraining.longest_sequence)
    return networks.build_network(config, params.model.attention, params.seed)


def parent_network(params: Params, config: Any, vocabulary: Vocabulary, tokens: int) -> Any:
    """The parent's network, whose config is given, with rows for `tokens`.

    Raises UserError where it has fewer and may not grow.
    """
    settings = params.pretraining
    assert settings.parent
    network = networks.load_parent(settings.parent, config, params.model.attention, settings.longest_sequence)
    if tokens > rows(network):
        if not settings.grow_vocabulary:
            raise UserError(
                f"{settings.parent}: has embeddings of {rows(network)} tokens, the tokenizer has {tokens}; "
                "set pretraining.grow_vocabulary: true to add the missing ones"
            )
        grow(network, vocabulary.size)
    return network


def resolve(settings: Pretraining, network: Any, world: World) -> tuple[Pretraining, Plan]:
    """The settings, with null ones derived from the network's size, and the phases of the run. Raises UserError for a
    batch size that does not fit."""
    derived = horizon(multiplying_weights(network), settings.sequence_length, settings.micro_batch * world.data_size)
    batch = settings.batch_tokens or derived.batch_tokens
    plan = plan_phases(settings, batch, settings.steps or max(derived.tokens // batch, 1), world.data_size)
    rate = settings.optimizer.learning_rate or derived.learning_rate
    resolved = settings.model_copy(
        update={
            "batch_tokens": batch,
            "micro_batch": max(phase.micro_batch for phase in plan.phases),
            "steps": plan.steps,
            "optimizer": settings.optimizer.model_copy(update={"learning_rate": rate}),
        }
    )
    return resolved, plan


def _check_length(settings: Pretraining, plan: Plan, heldout: bool) -> None:
    """Raise UserError where a knob could have no effect in a run of this length."""
    if settings.extendable and not stable_steps(plan.steps, settings.optimizer, plan.tokens_before):
        raise UserError(
            f"pretraining.extendable: a run of {plan.steps} steps is no longer than its warm-up of "
            f"{settings.optimizer.warmup_steps} (pretraining.optimizer.warmup_steps), so nothing could go on from it"
        )
    if not settings.early_stopping:
        return
    if not heldout:
        raise UserError("pretraining.early_stopping needs tokens with a held-out side; set it to 0 or `split` first")
    measured = (plan.steps - 1) // settings.evaluate_every
    if measured <= settings.early_stopping:
        raise UserError(
            f"pretraining.early_stopping {settings.early_stopping} cannot end a run of {plan.steps} steps, which is "
            f"measured {measured} times before its end: lower it or pretraining.evaluate_every"
        )


def _batches(
    shards: TokenShards, plan: Plan, settings: Pretraining, seed: int, pad_id: int
) -> Batches | PhasedBatches:  # fmt: skip
    if settings.phases:
        return PhasedBatches.of_plan(shards, plan, settings, seed, pad_id)
    (phase,) = plan.phases
    return Batches(
        shards, sequence_length=phase.sequence_length, sequences_per_step=phase.batch_tokens // phase.sequence_length,
        seed=seed, pad_id=pad_id, packing=settings.packing, mixture=settings.mixture,
        mixture_tokens=phase.tokens if settings.mixture else 0,
    )  # fmt: skip


def _heldout(
    tokens: Path, tokenizer_folder: Path, settings: Pretraining, pad: int, seed: int, world: World
) -> Heldout | None:
    folder = tokens / "heldout"
    if not folder.is_dir():
        return None
    shards = TokenShards(folder)
    if not shards.tokens:
        raise UserError(f"{folder}: holds no tokens, so nothing can be measured; give tokens with a held-out side")
    check_tokens(shards, tokenizer_folder)
    return Heldout(
        shards, world, sequence_length=settings.longest_sequence, batch_size=measured_rows(settings.longest_sequence),
        pad_id=pad, seed=seed,
    )  # fmt: skip
