"""How fast the data loader makes batches, and what share of a training step that is.

    python benchmarks/loader.py --tokens data/tokens/train [--training-tokens-per-second 5000]

One thread, CPU seconds, median of five rounds of 50 steps; compared with torch's DataLoader
over a `datasets` table of rows packed end to end beforehand (as the run_clm example does), without workers.
"""

import argparse
import statistics
import time

import numpy as np

from llm_core.formats.token_shards import TokenShards
from llm_core.training.pretraining.batches import Batches

STEPS, ROUNDS, ROWS = 50, 5, 8


def ours(shards: TokenShards, length: int, packing: str) -> tuple[float, float, float]:
    """Tokens per CPU second, seconds to plan the packing, share of slots filled."""
    start = time.process_time()
    loader = Batches(
        shards, sequence_length=length, sequences_per_step=ROWS, seed=1, pad_id=2, packing=packing  # type: ignore[arg-type]
    )  # fmt: skip
    planned = time.process_time() - start
    speeds = []
    for number in range(ROUNDS):
        start = time.process_time()
        for step in range(number * STEPS, (number + 1) * STEPS):
            for batch in loader.micro_batches(step, ROWS):
                batch.to("cpu")
        speeds.append(STEPS * ROWS * length / (time.process_time() - start))
    return statistics.median(speeds), planned, loader.fill


def peer(shards: TokenShards, length: int) -> tuple[float, float]:
    """Tokens per CPU second of DataLoader over `datasets`, and seconds to pack."""
    import datasets
    import torch

    start = time.process_time()
    stream = np.concatenate([shards.ids(document) for document in range(len(shards))])
    rows = stream[: len(stream) // length * length].reshape(-1, length).astype(np.int64)
    table = datasets.Dataset.from_dict({"input_ids": list(rows)}).with_format("torch")
    planned = time.process_time() - start
    speeds = []
    for number in range(ROUNDS):
        order = torch.Generator().manual_seed(number)
        loader = torch.utils.data.DataLoader(table, batch_size=ROWS, shuffle=True, generator=order)
        start = time.process_time()
        for step, _ in enumerate(loader):
            if step + 1 == STEPS:
                break
        speeds.append(STEPS * ROWS * length / (time.process_time() - start))
    return statistics.median(speeds), planned


def main() -> None:
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="data/tokens/train")
    parser.add_argument("--training-tokens-per-second", type=float, default=5000)
    arguments = parser.parse_args()
    shards = TokenShards(arguments.tokens)
    Batches(shards, sequence_length=64, sequences_per_step=1, seed=0, pad_id=2)  # compiles the packing
    print(f"{len(shards)} documents, {shards.tokens} tokens, batches of {ROWS} rows\n")
    print("| loader | T | M tokens a CPU s | share of a training step | plan, CPU s | slots filled |")
    print("| --- | --- | --- | --- | --- | --- |")
    for length in (256, 1024, 4096):
        for packing in ("best_fit", "concatenate"):
            speed, planned, fill = ours(shards, length, packing)
            share = arguments.training_tokens_per_second / speed
            print(f"| ours, {packing} | {length} | {speed / 1e6:.1f} | {share:.3%} | {planned:.3f} | {fill:.2%} |")
        speed, planned = peer(shards, length)
        share = arguments.training_tokens_per_second / speed
        print(f"| DataLoader over datasets | {length} | {speed / 1e6:.1f} | {share:.3%} | {planned:.3f} | 100% |")


if __name__ == "__main__":
    main()
