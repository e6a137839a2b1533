"""Rows of conversations packed into sequences: how many there are, and whether a network keeps the rows apart."""

from typing import Any

import torch

from llm_core.errors import UserError
from llm_core.models.loading import device_of


def packed(rows: Any, length: int) -> Any:
    """The sequences of at most `length` tokens into which TRL packs a data set of rows, where it is not shuffled."""
    from trl import pack_dataset

    return pack_dataset(rows.select_columns(["input_ids", "labels"]), length)


@torch.no_grad()
def check_packing(model: Any) -> None:
    """Raise UserError where a row sees the row before it in its sequence.

    The rows are known by their positions alone, which begin anew. Not every network of transformers makes its mask from
    them (OPT and BLOOM do not), and a recurrent one has none.
    """
    places, device = torch.arange(8, device="cpu"), device_of(model)
    training = model.training
    model.eval()
    seen = []
    for first in (places[:4] + 1, places[4:] + 1):
        ids = torch.cat([first, places[:4]])[None].to(device)
        positions = (places % 4)[None].to(device)
        seen.append(model(input_ids=ids, position_ids=positions, use_cache=False).logits[:, 4:].float())
    model.train(training)
    if not torch.allclose(*seen, rtol=1e-4, atol=1e-5):
        raise UserError(
            f"instruction.packing: in a sequence of several rows a {model.config.model_type} sees the rows before its "
            "own; set packing: false"
        )
