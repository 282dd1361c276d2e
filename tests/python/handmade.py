"""Quantized tensors with any of the format's extras, made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arrow_quant_v2.load import PackedTensor
from arrow_quant_v2.time_groups import ActivationParameters, TimeGroups


@dataclass
class HandmadeTensor:
    """What a QuantizedTensor says of an int8 tensor; random codes and scales."""

    shape: tuple[int, ...]
    name: str = "layer.weight"
    quant_type: str = "int8"
    bit_width: int = 8
    group_size: int = 32
    transforms: tuple[str, ...] = ()
    hadamard_block: int = 0
    input_scale: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    low_rank: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    bias_corrections: NDArray[np.float16] = field(
        default_factory=lambda: np.zeros((0, 1), np.float16)
    )
    activation: ActivationParameters | None = None

    def __post_init__(self) -> None:
        rng = np.random.default_rng(5)
        rows, cols = self.shape[0], int(np.prod(self.shape[1:]))
        groups = -(-cols // self.group_size)
        self._packed = PackedTensor(
            codes=rng.integers(-127, 128, (rows, cols), dtype=np.int8),
            scales=rng.uniform(1e-3, 2e-3, (rows, groups)).astype(np.float16),
            offsets=np.zeros((rows, 0), np.float16),
            tensor_scale=np.ones(rows, np.float32),
        )

    def packed(self) -> PackedTensor:
        return self._packed


def with_transforms(shape: tuple[int, ...], transforms: str, **options: Any) -> HandmadeTensor:
    """Make a tensor with the transforms that `transforms` names, separated by blanks."""
    rng = np.random.default_rng(6)
    rows, cols = shape[0], int(np.prod(shape[1:]))
    names = tuple(transforms.split())
    if "hadamard" in names:
        options["hadamard_block"] = cols & -cols
    if "input_scale" in names:
        options["input_scale"] = rng.uniform(0.5, 2, cols).astype(np.float32)
    if "low_rank" in names:
        u, v = rng.normal(0, 0.1, (rows, 3)), rng.normal(0, 0.1, (3, cols))
        options["low_rank"] = tuple(
            torch.tensor(m, dtype=torch.bfloat16).float().numpy() for m in (u, v)
        )
    return HandmadeTensor(shape, transforms=names, **options)


def plain_weight(tensor: Any) -> NDArray[np.float64]:
    """Decode by the format's definition, in double precision, with whole matrices."""
    packed = tensor.packed()
    cols = packed.codes.shape[1]
    group = np.arange(cols) // tensor.group_size
    weight = packed.codes * packed.scales.astype(np.float64)[:, group]
    for name in tensor.transforms:
        if name == "hadamard":
            blocks = cols // tensor.hadamard_block
            weight = weight @ np.kron(np.eye(blocks), sylvester(tensor.hadamard_block))
        elif name == "low_rank":
            weight = weight + tensor.low_rank[0].astype(np.float64) @ tensor.low_rank[1]
        else:
            weight = weight / tensor.input_scale
    return np.asarray(weight.reshape(tensor.shape))


def sylvester(order: int) -> NDArray[np.float64]:
    """Return the orthonormal Hadamard matrix by its definition."""
    matrix = np.ones((1, 1))
    while len(matrix) < order:
        matrix = np.kron([[1, 1], [1, -1]], matrix)
    return matrix / np.sqrt(order)


def grid(boundaries: tuple[float, ...], **options: Any) -> TimeGroups:
    """Return groups over 20 steps of a schedule that falls from 950 to 0."""
    values: dict[str, Any] = {
        "kind": "timestep",
        "schedule": "linear",
        "timesteps": tuple(50.0 * i for i in range(19, -1, -1)),
        "log_snr": tuple(0.5 * i - 5 for i in range(20)),
        "boundaries_timestep": boundaries,
        "boundaries_log_snr": tuple(0.0 for _ in boundaries),
        "interpolation": "",
        "window": 0,
    }
    return TimeGroups(**(values | options))


def activation(bits: int, **options: Any) -> ActivationParameters:
    """Return dynamic ranges of one group, unclipped, unless told otherwise."""
    one = np.ones(1, np.float32)
    values: dict[str, Any] = {"mode": "dynamic", "clip": one, "scale": one, "zero_point": one}
    return ActivationParameters(bits=bits, **(values | options))
