"""Transforms of a weight or of an input: the Walsh-Hadamard transform, and low rank."""

# mypy: disable-error-code="misc, no-any-return, no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_CHUNK = 1 << 16  # values that a core's cache holds twice


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
    return _Hadamard.apply(values, block)


class _Hadamard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, block: int) -> Tensor:
        ctx.block = block
        rows = values.reshape(-1, block)
        product = torch.empty(rows.shape, dtype=values.dtype, device=values.device)
        # A GPU is better off with few large steps.
        count = _CHUNK // block if values.device.type == "cpu" else len(rows)
        for some, into in zip(rows.split(max(1, count)), product.split(max(1, count)), strict=True):
            columns = some.t().clone(memory_format=torch.contiguous_format)
            torch.mul(_butterflies(columns).t(), 1 / math.sqrt(block), out=into)
        return product.view(values.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return hadamard(gradient, ctx.block), None


def _butterflies(values: Tensor) -> Tensor:
    """Add and subtract along the first axis of [block, n], contiguous, which is overwritten."""
    block, n = values.shape
    other = torch.empty_like(values)
    stride = 1
    while stride < block:
        pairs = (block // (2 * stride), 2, stride, n)
        here, there = values.view(pairs), other.view(pairs)
        torch.add(here[:, 0], here[:, 1], out=there[:, 0])
        torch.sub(here[:, 0], here[:, 1], out=there[:, 1])
        values, other = other, values
        stride *= 2
    return values


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
