"""A small model made of bytes, so that tests need no framework to write one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Tensor = tuple[str, NDArray[np.generic]]  # safetensors dtype, and the elements' bits

QUANTIZED = ["blocks.0.attn.to_q.weight", "blocks.0.mlp.fc1.weight", "blocks.1.mlp.fc1.weight"]


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to nearest even; finite values only."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    header: dict[str, object] = {}
    data = b""
    for name, (dtype, array) in tensors.items():
        raw = array.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    path.write_bytes(beginning(header) + data)


def write_sparse_model(
    path: Path, num_tensors: int, rows: int, cols: int, aligned: bool = True
) -> None:
    """Write a safetensors file of float32 zeros that takes no room on disk.

    Weights that are not aligned, which the safetensors package does not write, are copied instead
    of read in place.
    """
    size = rows * cols * 4
    header: dict[str, object] = {
        f"blocks.{i}.fc.weight": {
            "dtype": "F32",
            "shape": [rows, cols],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(num_tensors)
    }
    text = beginning(header) if aligned else beginning(header, padding=1)
    with path.open("wb") as file:
        file.write(text)
        file.truncate(len(text) + num_tensors * size)


def beginning(header: Mapping[str, object], padding: int = 0) -> bytes:
    """Return what a safetensors file has before its data, whose length is `padding` modulo 8."""
    text = json.dumps(header).encode()
    text += b" " * ((padding - len(text)) % 8)
    return len(text).to_bytes(8, "little") + text


def tiny_tensors() -> dict[str, Tensor]:
    """Three weights to quantize, one of them with a short last group, among some to keep."""
    rng = np.random.default_rng(7)

    def weight(*shape: int) -> Tensor:
        return "BF16", to_bf16(rng.normal(0, 0.02, shape).astype(np.float32))

    return {
        "blocks.0.norm.weight": ("F32", rng.normal(1, 0.1, 128).astype(np.float32)),
        "blocks.0.attn.to_q.weight": weight(128, 128),
        "blocks.0.mlp.fc1.weight": weight(256, 128),
        "blocks.0.mlp.fc1.bias": weight(256),
        "blocks.1.mlp.fc1.weight": weight(96, 200),
        "position_ids": ("I64", np.arange(12, dtype=np.int64).reshape(3, 4)),
        "mask": ("BOOL", np.array([True, False, True])),
    }


def negated(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors with weights (those of bfloat16) of the other sign."""
    return {
        name: (dtype, array ^ 0x8000 if dtype == "BF16" else array)
        for name, (dtype, array) in tensors.items()
    }
