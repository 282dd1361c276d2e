"""Packed codes to weights: the formula of the format, in torch."""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import torch
from torch import Tensor


def unpack(codes: Tensor, bits: int, cols: int) -> Tensor:
    """Take codes out of their bytes.

    Parameters
    ----------
    codes : Tensor
        2 and 4 bits: uint8 [rows, bytes of a row], code i of a byte at bit i · bits;
        8 bits: int8 [rows, cols].
    bits : int
        2, 4 or 8.
    cols : int
        Codes in a row; the bits after them are padding.

    Returns
    -------
    Tensor
        float32 [rows, cols].
    """
    if bits == 8:
        return codes.to(torch.float32)
    mask = 2**bits - 1
    fields = [(codes >> shift) & mask for shift in range(0, 8, bits)]
    return torch.stack(fields, dim=-1).flatten(1)[:, :cols].to(torch.float32)


def decode(
    codes: Tensor,
    scales: Tensor,
    offsets: Tensor | None,
    tensor_scale: Tensor | None,
    bits: int,
    group_size: int,
    cols: int,
) -> Tensor:
    """Restore weights as ``tensor_scale · (scale · code + offset)``.

    Each operation is rounded to float32 by itself, so that the bits are those of
    `QuantizedTensor.dequantize` before transforms are undone.

    Parameters
    ----------
    codes : Tensor
        As `unpack` takes them.
    scales, offsets : Tensor
        float16 [rows, groups of a row]; offsets None with 8 bits.
    tensor_scale : Tensor or None
        float32 [] or [rows, 1]; None for 1.
    bits, group_size, cols : int
        Of a code; codes that share a scale; codes in a row.

    Returns
    -------
    Tensor
        float32 [rows, cols].
    """
    weight = unpack(codes, bits, cols)
    groups = scales.shape[1]
    whole = groups == 1 or cols % group_size == 0
    # A view with an axis of groups, where the last one is not short.
    view = weight.unflatten(1, (groups, -1)) if whole else weight

    def per_code(params: Tensor) -> Tensor:
        wide = params.to(torch.float32)
        return wide[:, :, None] if whole else wide.repeat_interleave(group_size, 1)[:, :cols]

    view.mul_(per_code(scales))
    if offsets is not None:
        view.add_(per_code(offsets))
    return weight if tensor_scale is None else weight.mul_(tensor_scale)
