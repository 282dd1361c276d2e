"""Read safetensors checkpoints into float32 numpy arrays, bfloat16 included.

numpy has no bfloat16, so the safetensors package cannot hand such tensors to it. The format is
plain: a little-endian uint64 with the header's length, a JSON header, and the raw tensors
(https://github.com/huggingface/safetensors#format). bfloat16 is the upper half of a float32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries (dtype, shape, data_offsets) of a safetensors file by tensor name."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return dict(header)


def read_tensors(path: Path) -> dict[str, Array]:
    """Return every tensor (F32, F16 or BF16) of a safetensors file as float32."""
    raw = path.read_bytes()
    data = memoryview(raw)[8 + int.from_bytes(raw[:8], "little") :]
    tensors = {}
    for name, entry in read_header(path).items():
        start, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            words = np.frombuffer(data[start:end], "<u2").astype(np.uint32)
            values = (words << 16).view(np.float32)
        else:
            values = np.frombuffer(data[start:end], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        tensors[name] = values.astype(np.float32).reshape(entry["shape"])
    return tensors


def read_folder(folder: Path) -> dict[str, Array]:
    """Return the tensors of all safetensors files of a folder, so of a sharded checkpoint too."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no .safetensors file in {folder}")
    return {name: tensor for file in files for name, tensor in read_tensors(file).items()}
