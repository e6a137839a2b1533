"""Builds tiny networks whole and in parts, exports the parts, and prints what differs as JSON.

torchrun --standalone --nproc-per-node 2 -m tests.llm_core.training.pretraining.parts FOLDER FAMILY…
"""

import json
import sys
from pathlib import Path

import torch

from llm_core.models.family import Vocabulary, family
from llm_core.params import Params
from llm_core.training.pretraining import engine as engines
from llm_core.training.pretraining import partitioned
from llm_core.training.pretraining.assemble import fresh_network, load_tokenizer
from llm_core.training.pretraining.export import Weights

SHARD_BYTES = 20_000


def main() -> None:
    folder, world = Path(sys.argv[1]), engines.world()
    engines.join(offload=False)
    print_on_main = {}
    for name in sys.argv[2:]:
        sizes = {"family": name, "layers": 2, "width": 32, "heads": 2, "feed_forward": 64}
        params = Params.model_validate(
            {"seed": 7, "model": sizes, "pretraining": {"sequence_length": 32, "zero_stage": 3}}
        )
        tokenizer, vocabulary, _ = load_tokenizer(folder / "tokenizer", family(name))
        print_on_main[name] = compare(params, tokenizer, vocabulary, folder / name, world)
    if world.main:
        print(json.dumps(print_on_main))


def compare(params: Params, tokenizer: object, vocabulary: Vocabulary, folder: Path, world: engines.World) -> dict:
    whole = fresh_network(params, vocabulary)
    config = engines.deepspeed_config(params.pretraining, "fp32", 1)
    with partitioned.building(config):
        parts = fresh_network(params, vocabulary)
    ours, theirs = dict(parts.named_parameters()), dict(whole.named_parameters())
    different = sorted({*ours} ^ {*theirs})
    for name, value in ours.items():
        with partitioned.whole([value]):
            if not torch.equal(value, theirs[name]):
                different.append(name)
    held = sum(value.ds_tensor.numel() for value in ours.values())
    for shard_bytes in (SHARD_BYTES, 1 << 40):
        weights = Weights(parts, 3, folder / "scratch", shard_bytes, world)
        if world.main:
            weights.export(tokenizer, folder / f"parts{shard_bytes}")
            Weights(whole, 0, folder / "scratch", shard_bytes, world).export(tokenizer, folder / f"whole{shard_bytes}")
        engines.barrier()
        weights.close()
    return {
        "different": different,
        "held": held / sum(value.numel() for value in theirs.values()),
        "buffers": [n for n, b in parts.named_buffers() if not torch.equal(b, dict(whole.named_buffers())[n])],
    }


if __name__ == "__main__":
    main()
