"""Transforms of a weight or of an input: the Walsh-Hadamard transform, and low rank."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math

import torch
from torch import Tensor


def hadamard(values: Tensor, block: int) -> Tensor:
    """Multiply consecutive blocks of the last axis by the orthonormal Sylvester matrix.

    The matrix is H_1 = [1], H_2n = [[H_n, H_n], [H_n, −H_n]], over √block: symmetric, and its own
    inverse. A butterfly takes log2(block) additions per value, where a product takes block.

    Parameters
    ----------
    values : Tensor
        Floats [..., cols].
    block : int
        A power of two that divides cols.

    Returns
    -------
    Tensor
        Like `values`.
    """
    shape = values.shape
    stride = 1
    while stride < block:
        first, second = values.reshape(-1, 2, stride).unbind(1)
        values = torch.stack((first + second, first - second), dim=1)
        stride *= 2
    return values.reshape(shape) * (1 / math.sqrt(block))


def low_rank_product(u: Tensor, v: Tensor) -> Tensor:
    """Multiply the factors [rows, rank] and [rank, cols] of a low-rank part.

    In float32, one rank after the other, each product and sum rounded by itself: the bits are those
    of `QuantizedTensor.dequantize`, whatever order of sums a matrix product would take.
    """
    u, v = u.float(), v.float()
    product = torch.zeros(len(u), v.shape[1], device=u.device)
    for k in range(len(v)):
        product.add_(u[:, k, None] * v[k])
    return product
