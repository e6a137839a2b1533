"""The trained network in Hugging Face layout, whatever ZeRO stage held its weights.

At stage 3 nobody holds the whole network: the processes gather one weight after the other, and each writes the files
that are its own. The files are those of a training at another stage, byte by byte, whatever the number of processes.
"""

import shutil
from pathlib import Path
from typing import Any

import torch

from llm_core.models.loading import context_of
from llm_core.models.weight_files import Kinds, WeightWriter, layout_of, write_index
from llm_core.runtime import progress
from llm_core.training.pretraining import partitioned
from llm_core.training.pretraining.engine import World, barrier


class Weights:
    """The weights of a network, ready to be exported; all ranks make it, the main rank exports it.

    `scratch` is a folder that all ranks share. The files of a network in parts are there until `close`.
    """

    def __init__(self, network: Any, zero_stage: int, scratch: Path, shard_bytes: int, world: World) -> None:
        self.network, self.shard_bytes, self.main = network, shard_bytes, world.main
        self.parts = scratch / "parts" if zero_stage == 3 else None
        self.state: dict[str, torch.Tensor] = {}
        if self.parts is None:
            self.state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
            return
        if world.main:
            shutil.rmtree(self.parts, ignore_errors=True)
            self.parts.mkdir(parents=True)
        barrier()
        names = _saved_as(network)
        if names is None:
            self.parts = None
            self._gather(world)
        else:
            _write_parts(network, names, self.parts, shard_bytes, world)

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(map(partitioned.size_of, self.network.parameters()))

    def export(self, tokenizer: Any, out: Path, continued: bool = False) -> None:
        """Write config, weights (safetensors), tokenizer and generation defaults (a parent's are kept) to `out`."""
        from transformers import GenerationConfig
        from transformers.utils import logging

        network = self.network
        logging.disable_progress_bar()
        network.config.dtype = torch.float32
        network.config.use_cache = True  # training asks for no cache in each call
        if continued:
            _keep_valid(network)
        elif hasattr(network, "generation_config"):
            network.generation_config = GenerationConfig(
                bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                decoder_start_token_id=getattr(network.config, "decoder_start_token_id", None),
            )  # fmt: skip
        state = {name: value.float() if value.is_floating_point() else value for name, value in self.state.items()}
        network.save_pretrained(out, state_dict=state, max_shard_size=self.shard_bytes)
        if self.parts is not None:
            for file in sorted(self.parts.iterdir()):
                shutil.copyfile(file, out / file.name)
        positions = context_of(network.config)
        if positions:
            tokenizer.model_max_length = positions
        tokenizer.save_pretrained(out)

    def close(self) -> None:
        """Remove the files that all ranks wrote."""
        if self.parts is not None and self.main:
            shutil.rmtree(self.parts, ignore_errors=True)

    def _gather(self, world: World) -> None:
        if world.main:
            progress.log("the names in this family's checkpoints are not those of its weights: exported by one process")
        for name, value in self.network.state_dict(keep_vars=True).items():
            with partitioned.whole([value]):
                if world.main:
                    self.state[name] = value.detach().cpu().clone()


def _saved_as(network: Any) -> dict[str, str] | None:
    """Name in a checkpoint to name in the network, in the order in which `save_pretrained` writes them.

    None where a checkpoint holds other tensors than the network, such as several weights in one.
    """
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.modeling_utils import remove_tied_weights_from_state_dict

    empty = {
        name: torch.empty(partitioned.shape_of(value), dtype=value.dtype, device="meta")
        for name, value in network.state_dict(keep_vars=True).items()
    }
    own = {id(value): name for name, value in empty.items()}
    kept = remove_tied_weights_from_state_dict(dict(empty), network)
    saved = revert_weight_conversion(network, kept)
    if any(id(value) not in own for value in saved.values()):
        return None
    return {name: own[id(value)] for name, value in saved.items()}


def _write_parts(network: Any, names: dict[str, str], folder: Path, shard_bytes: int, world: World) -> None:
    """Write the weight files, each by one of the processes, which gather every weight together."""
    values = network.state_dict(keep_vars=True)
    kinds: Kinds = {}
    for name, own in names.items():
        dtype = torch.float32 if values[own].is_floating_point() else values[own].dtype
        kinds[name] = dtype, partitioned.shape_of(values[own])
    layout = layout_of(kinds, shard_bytes)
    for number, (file, inside) in enumerate(layout.items()):
        mine = number % world.size == world.rank
        writer = WeightWriter(folder / file, {name: kinds[name] for name in inside}) if mine else None
        for name in inside:
            value = values[names[name]]
            with partitioned.whole([value]):
                if writer:
                    writer.add(name, value.detach().to(kinds[name][0]))
        if writer:
            writer.close()
    if world.main and len(layout) > 1:
        write_index(folder, layout, kinds)
    barrier()


def _keep_valid(network: Any) -> None:
    """Drop what transformers refuses to save of a parent's generation defaults: settings of sampling, switched off."""
    defaults = getattr(network, "generation_config", None)
    if defaults is not None and not defaults.do_sample:
        for name in ("temperature", "top_k", "top_p", "min_p", "typical_p"):
            setattr(defaults, name, None)
