"""An untrained model whose token vectors are Word2Vec's, trained on the tokens that it will be trained on.

Words do not fit a model with subword tokens, so Word2Vec is run on the encoded documents: a
vector for each token id, as wide as the model. They are centred and scaled to the spread of
the random weights that they replace, since a network's first steps depend on that scale; an
id that is too rare keeps its random row. `pretraining.parent` names the folder; whether it
helps is measured in docs/explanation/retrieval.md.

The folder has a training record of one whole pass over the shards: a model that starts
from it has learned from all of their documents, and `llm-core documents` lists them.
"""

import math
from pathlib import Path
from typing import Any

import torch

from llm_core.formats import token_shards
from llm_core.models.family import family
from llm_core.params import Params
from llm_core.retrieval.embeddings.sentences import TokenSentences
from llm_core.retrieval.embeddings.word2vec import vectors
from llm_core.runtime import progress
from llm_core.runtime.digests import content_digest
from llm_core.runtime.storage import output_folder, write_json
from llm_core.training.pretraining.assemble import fresh_network, load_tokenizer
from llm_core.training.pretraining.batches import Batches
from llm_core.training.pretraining.origins import check_tokens
from llm_core.training.pretraining.stage import train_tokens


def initialize(tokens: Path, tokenizer_folder: Path, out: Path, params: Params, algorithm: str) -> dict[str, Any]:
    """Write the model to `out` and return the metrics. Raises UserError where tokens, tokenizer or sizes are wrong."""
    folder = train_tokens(tokens)
    tokenizer, vocabulary, _ = load_tokenizer(tokenizer_folder, family(params.model.family))
    network = fresh_network(params, vocabulary)
    table = network.get_input_embeddings().weight
    shards = token_shards.TokenShards(folder)
    check_tokens(shards, tokenizer_folder)
    with progress.task(f"word2vec {algorithm}", total=len(shards) * (params.word2vec.epochs + 1)) as work:
        trained = vectors(
            TokenSentences(folder, work), algorithm, params.word2vec, int(table.shape[1]), params.seed
        )  # fmt: skip
    ids = [int(token) for token in trained.index_to_key]
    with torch.no_grad():
        table[ids] = rescaled(torch.tensor(trained.vectors, device=table.device), table)
    metrics = {"algorithm": algorithm, "tokens": len(ids), "of": int(table.shape[0]), "width": int(table.shape[1])}
    with output_folder(out) as partial:
        network.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        write_json(partial / "training_data.json", _record(folder, shards, params, vocabulary.filler))
        write_json(partial / "metrics.json", metrics)
    return metrics


def rescaled(found: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
    """Vectors [tokens, width] centred in each dimension, with the standard deviation of `random`."""
    centred = found - found.mean(0)
    return centred * (random.std() / centred.std())


def _record(folder: Path, shards: token_shards.TokenShards, params: Params, pad: int) -> dict[str, Any]:
    """The training record that `llm-core documents` reads: one pass over all shards."""
    settings = params.pretraining
    batches = Batches(
        shards, sequence_length=settings.sequence_length, sequences_per_step=settings.micro_batch, seed=params.seed,
        pad_id=pad, packing=settings.packing,
    )  # fmt: skip
    return {
        "tokens": str(folder), "tokens_digest": content_digest(folder), "loader": batches.state_dict(),
        "steps": math.ceil(1000 / batches.epoch(1000)), "parent": None,
    }  # fmt: skip
