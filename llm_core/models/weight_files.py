"""Weights on disk, one tensor in memory at a time: read from a model folder, written as safetensors.

`save_pretrained` wants the whole network in memory. A merge of models, and the export of a network whose parts are in
several processes, never need more than one tensor, because the header of a safetensors file follows from names, types
and shapes alone. The bytes are those of `save_pretrained` (tested), so nobody can tell how a model was written.

Format: github.com/safetensors/safetensors (eight bytes of length, a JSON header, the tensors); the index of a model in
several files is that of transformers.
"""

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch

from llm_core.errors import UserError
from llm_core.runtime.storage import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
ORDER = ("I64", "F64", "F32", "I32", "BF16", "F16", "I16", "I8", "U8", "BOOL")
"""Types in the order in which safetensors puts a file's tensors: wide ones first, so that each is aligned."""
Kinds = dict[str, tuple[torch.dtype, tuple[int, ...]]]
"""Name of a tensor to its type and shape, in the order in which files hold them."""
Layout = dict[str, list[str]]
"""Name of a file to the names of its tensors, in their order."""


def layout_of(tensors: Kinds, shard_bytes: int) -> Layout:
    """Which file holds which of `tensors`: one file, or several of at most `shard_bytes`, in the order of `tensors`.

    A tensor that is larger has a file of its own. The split and the names are those of `save_pretrained`.
    """
    groups: list[list[str]] = [[]]
    filled = 0
    for name, kind in tensors.items():
        if groups[-1] and filled + size_of(*kind) > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size_of(*kind)
    ordered = [sorted(group, key=lambda name: (ORDER.index(CODES[tensors[name][0]]), name)) for group in groups]
    if len(ordered) == 1:
        return {SINGLE: ordered[0]}
    return {f"model-{number:05}-of-{len(ordered):05}.safetensors": names for number, names in enumerate(ordered, 1)}


class WeightFiles:
    """The tensors of a model folder in safetensors, in one file or several. A context manager; nothing is read before
    `tensor`.

    Raises UserError where the folder has no such file, or one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.folder = folder
        self._stack = ExitStack()
        if (folder / INDEX).is_file():
            files = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
        elif (folder / SINGLE).is_file():
            files = [SINGLE]
        else:
            raise UserError(f"{folder}: holds no weights in safetensors ({SINGLE}, or {INDEX})")
        self._where: dict[str, Any] = {}
        self.layout: Layout = {}
        for name in files:
            try:
                opened = self._stack.enter_context(safe_open(folder / name, framework="pt"))
            except (SafetensorError, OSError) as error:
                self._stack.close()
                raise UserError(f"{folder / name}: cannot be read ({str(error).splitlines()[0]})") from None
            self._where |= dict.fromkeys(opened.keys(), opened)
            self.layout[name] = list(opened.offset_keys())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._where = {}
        self._stack.close()

    def kinds(self) -> Kinds:
        """Type and shape of each tensor, from the headers, in the order of the files.

        Raises UserError for a type that `WeightWriter` does not write.
        """
        types = {code: dtype for dtype, code in CODES.items()}
        found: Kinds = {}
        for name in (name for names in self.layout.values() for name in names):
            piece = self._where[name].get_slice(name)
            if piece.get_dtype() not in types:
                raise UserError(f"{self.folder}: {name} has the type {piece.get_dtype()} (known: {', '.join(types)})")
            found[name] = types[piece.get_dtype()], tuple(piece.get_shape())
        return found

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor, on the CPU, in the type of the file."""
        found: torch.Tensor = self._where[name].get_tensor(name)
        return found


class WeightWriter:
    """One safetensors file whose tensors are added one by one, in the order of `tensors`. A context manager.

    The file is complete when the last one has been added and the context, or `close`, ends it.
    """

    def __init__(self, file: Path, tensors: Kinds) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        place = 0
        for name, (dtype, shape) in tensors.items():
            end = place + size_of(dtype, shape)
            header[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [place, end]}
            place = end
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        self._wanted = iter(tensors.items())
        self._left = len(tensors)
        self._stream = open(file, "wb")  # noqa: SIM115 - closed by __exit__
        self._stream.write(len(text).to_bytes(8, "little") + text)

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Write the next tensor. Raises ValueError for another than the header has at this place."""
        wanted = next(self._wanted, None)
        if wanted != (name, (tensor.dtype, tuple(tensor.shape))):
            raise ValueError(f"{name}: {tensor.dtype} {tuple(tensor.shape)} is not the next tensor ({wanted})")
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        self._stream.write(memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b"")
        self._left -= 1

    def close(self) -> None:
        """End the file. Raises ValueError where tensors lack."""
        self._stream.close()
        if self._left:
            raise ValueError(f"{self._stream.name}: {self._left} tensors lack")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._stream.close()


def write_index(folder: Path, layout: Layout, tensors: Kinds) -> None:
    """Write the index of a model in several files; nothing for one file."""
    if len(layout) == 1:
        return
    size = sum(size_of(*kind) for kind in tensors.values())
    numbers = sum(math.prod(shape) for _, shape in tensors.values())
    where = {name: file for file, names in layout.items() for name in names}
    index = {"metadata": {"total_parameters": numbers, "total_size": size}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def size_of(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize
