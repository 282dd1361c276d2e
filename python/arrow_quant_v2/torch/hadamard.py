"""The blocked Walsh-Hadamard transform, as additions."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math

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
        pairs = values.reshape(-1, 2, stride)
        first, second = pairs[:, 0], pairs[:, 1]
        values = pairs.new_empty(pairs.shape)
        values[:, 0] = first + second
        values[:, 1] = first - second
        stride *= 2
    return values.reshape(shape) * (1 / math.sqrt(block))
