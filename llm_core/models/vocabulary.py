"""More tokens than a network has rows for: its embeddings grow, and a new row is the mean of the old ones.

The mean is the usual start (Hewitt 2021, nlp.stanford.edu/~johnhew/vocab-expansion.html): a new token then gets about
the mean probability, where a random row may take most of it. Every new row is the same and nothing is drawn.
"""

from typing import Any

import torch


def rows(network: Any) -> int:
    """How many tokens the network has embeddings for."""
    return int(network.get_input_embeddings().weight.shape[0])


def grow(network: Any, size: int) -> None:
    """Give the network at least `size` rows, in place, in the token embedding and in the head."""
    old = rows(network)
    if size <= old:
        return
    network.resize_token_embeddings(size, mean_resizing=False)
    head = network.get_output_embeddings()
    with torch.no_grad():
        for weight in {id(one): one for one in _tables(network, head)}.values():
            weight[old:] = weight[:old].mean(0)


def _tables(network: Any, head: Any) -> list[Any]:
    """The token embedding, the head's weight and its bias, those that there are; [rows, …] each."""
    found = [network.get_input_embeddings().weight]
    if head is not None:
        found += [one for one in (head.weight, getattr(head, "bias", None)) if one is not None]
    return found
