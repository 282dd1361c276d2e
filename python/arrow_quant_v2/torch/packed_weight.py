"""PackedWeight: what the quantized layers have in common, a weight held as packed codes."""

# torch is not fully typed, and is nothing but Any where its types are left out.
# mypy: disable-error-code="misc, no-any-return, no-untyped-call"

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from arrow_quant_v2.load import QuantizedTensor
from arrow_quant_v2.torch.codes import decode
from arrow_quant_v2.torch.lazy_weight import LazyWeight

# Buffers that stay in the type in which they are stored, whatever type the model is cast to.
_STORED = ("codes", "scales", "offsets", "tensor_scale")


class PackedWeight(nn.Module):
    """The weight of a layer as packed codes, scales and offsets.

    A part of a class whose other part is a layer of torch. Buffers, with rows and cols of the
    weight's view [out, in·…]:

    - ``codes``, uint8 [rows, bytes of a row], or int8 [rows, cols];
    - ``scales`` and ``offsets``, float16 [rows, groups of a row]; no offsets with 8 bits;
    - ``tensor_scale``, float32 [] or [rows, 1], where it is not 1.
    """

    bit_width: int
    group_size: int
    weight_shape: tuple[int, ...]
    codes: Tensor
    scales: Tensor
    offsets: Tensor | None
    tensor_scale: Tensor | None

    def _hold(self, tensor: QuantizedTensor, device: torch.device, dtype: torch.dtype) -> None:
        """Take the codes of `tensor` to `device`; show a weight of `dtype`."""
        packed = tensor.packed()
        self.bit_width = tensor.bit_width
        self.group_size = tensor.group_size
        self.weight_shape = tensor.shape
        self._cache_wanted = False
        self._cache: Tensor | None = None
        stored: dict[str, Any] = {
            "codes": packed.codes,
            "scales": packed.scales,
            "offsets": packed.offsets if packed.offsets.size else None,
            "tensor_scale": _common(packed.tensor_scale),
        }
        for name, values in stored.items():
            buffer = None if values is None else torch.from_numpy(values).to(device)
            self.register_buffer(name, buffer)
        # No bytes: it follows to(device, dtype) as a weight would.
        self.register_buffer("_like", torch.empty(0, dtype=dtype, device=device), persistent=False)

    @property
    def weight(self) -> Tensor:
        """The weight, in the layer's type; decoded when it is computed with."""
        like = self._like
        return LazyWeight(
            lambda: self.dequantize(like.dtype), self.weight_shape, like.dtype, like.device
        )

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Restore the weight.

        Parameters
        ----------
        dtype : torch.dtype
            A floating-point type; rounded to it last.

        Returns
        -------
        Tensor
            Of the source's shape. In float32, the bits of `QuantizedTensor.dequantize`.
        """
        return self._matrix().reshape(self.weight_shape).to(dtype)

    def cache_weight(self, keep: bool = True) -> None:
        """Keep the dequantized weight from the next call on, or forget it."""
        self._cache_wanted = keep
        self._cache = None

    def _dense(self, dtype: torch.dtype) -> Tensor:
        """Return the dequantized weight, from the cache where one is wanted."""
        if not self._cache_wanted:
            return self.dequantize(dtype)
        if self._cache is None or self._cache.dtype != dtype:
            self._cache = self.dequantize(dtype)
        return self._cache

    def _matrix(self) -> Tensor:
        """Decode to float32 [rows, cols]."""
        return decode(
            self.codes,
            self.scales,
            self.offsets,
            self.tensor_scale,
            self.bit_width,
            self.group_size,
            cols=math.prod(self.weight_shape[1:]),
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedWeight:
        """Move and cast; what is stored moves but keeps its type."""
        stored = {id(self._buffers.get(name)) for name in _STORED}

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if id(tensor) in stored and moved.dtype != tensor.dtype:
                return tensor.to(moved.device)
            return moved

        self._cache = None
        super()._apply(move, recurse)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": None}

    def extra_repr(self) -> str:
        """Return what torch prints of the layer."""
        return f"{super().extra_repr()}, bits={self.bit_width}, group_size={self.group_size}"


def cache_weights(model: nn.Module, keep: bool = True) -> None:
    """Keep the dequantized weights of a model's quantized layers, or forget them.

    Decoding takes most of the time of a small batch; kept weights take the memory of a model that
    was never quantized. The packed codes stay in any case.

    Parameters
    ----------
    model : torch.nn.Module
        What `load_model` returned.
    keep : bool
        True: each layer decodes at its next call, and keeps what it got until it is moved or cast.
        False: forget, and decode at each call.
    """
    for module in model.modules():
        if isinstance(module, PackedWeight):
            module.cache_weight(keep)


def _common(factors: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any] | None:
    """Return None for factors of 1, [] for equal ones, else [rows, 1]."""
    if np.all(factors == 1):
        return None
    return factors[:1].reshape(()) if np.all(factors == factors[0]) else factors[:, None]
