"""Activation quantization, simulated exactly: values go to codes of few bits and back."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import torch
from torch import Tensor


def quantize_dynamic(values: Tensor, bits: int, clip: Tensor) -> Tensor:
    """Quantize each row with a range taken from its values, which always holds 0.

    Parameters
    ----------
    values : Tensor
        float32 [..., cols].
    bits : int
        Of a code: 4 or 8.
    clip : Tensor
        float32, in 0 … 1, of a shape that broadcasts: the part of the range that is kept.

    Returns
    -------
    Tensor
        float32, like `values`: lo + scale · code.
    """
    lo = clip * values.amin(-1, keepdim=True).clamp(max=0)
    hi = clip * values.amax(-1, keepdim=True).clamp(min=0)
    scale = (hi - lo) / (2**bits - 1)
    scale = torch.where(scale > 0, scale, 1)
    codes = ((values - lo) / scale).round().clamp(0, 2**bits - 1)
    return lo + scale * codes


def quantize_static(values: Tensor, bits: int, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Quantize with a range that was measured before.

    Parameters
    ----------
    values : Tensor
        float32.
    bits : int
        Of a code: 4 or 8.
    scale, zero_point : Tensor
        float32, of a shape that broadcasts; the zero point is the code of 0.

    Returns
    -------
    Tensor
        float32, like `values`: scale · (code − zero_point).
    """
    codes = ((values / scale).round() + zero_point).clamp(0, 2**bits - 1)
    return scale * (codes - zero_point)
