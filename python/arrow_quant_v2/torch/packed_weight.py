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
from arrow_quant_v2.torch.transforms import hadamard, low_rank_product


class PackedWeight(nn.Module):
    """The weight of a layer as packed codes, scales and offsets.

    A part of a class whose other part is a layer of torch. Buffers, with rows and cols of the
    weight's view [out, in·…]:

    - ``codes``, uint8 [rows, bytes of a row], or int8 [rows, cols];
    - ``scales`` and ``offsets``, float16 [rows, groups of a row]; no offsets with 8 bits;
    - ``tensor_scale``, float32 [] or [rows, 1], where it is not 1;
    - of transforms: ``input_scale``, float32 [cols]; ``low_rank_u`` [rows, rank] and ``low_rank_v``
      [rank, cols], bfloat16.

    Those that a layer does not have are None. They stay in their types whatever type the model is
    cast to.
    """

    _stored: tuple[str, ...] = ()  # names of the buffers that stay in their types

    bit_width: int
    group_size: int
    weight_shape: tuple[int, ...]
    transforms: tuple[str, ...]
    hadamard_block: int
    codes: Tensor
    scales: Tensor
    offsets: Tensor | None
    tensor_scale: Tensor | None
    input_scale: Tensor | None
    low_rank_u: Tensor | None
    low_rank_v: Tensor | None

    def _hold_weight(
        self, tensor: QuantizedTensor, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Take the weight that `tensor` holds to `device`; show it as one of `dtype`."""
        packed = tensor.packed()
        self.bit_width = tensor.bit_width
        self.group_size = tensor.group_size
        self.weight_shape = tensor.shape
        self.transforms = tensor.transforms
        self.hadamard_block = tensor.hadamard_block
        self._cache_wanted = False
        self._cache: Tensor | None = None
        u, v = tensor.low_rank or (None, None)
        self._store("codes", packed.codes, device)
        self._store("scales", packed.scales, device)
        self._store("offsets", packed.offsets, device)
        self._store("tensor_scale", _common(packed.tensor_scale), device)
        self._store("input_scale", tensor.input_scale, device)
        # bfloat16 in the file, which numpy does not have.
        self._store("low_rank_u", u, device, torch.bfloat16)
        self._store("low_rank_v", v, device, torch.bfloat16)
        # No bytes: it follows to(device, dtype) as a weight would.
        self.register_buffer("_like", torch.empty(0, dtype=dtype, device=device), persistent=False)

    def _store(
        self,
        name: str,
        values: np.ndarray[Any, Any] | None,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make a buffer that stays in its type; None and empty arrays make none."""
        there = values is not None and values.size > 0
        buffer = torch.from_numpy(values).to(device, dtype) if there else None
        self.register_buffer(name, buffer)
        self._stored += (name,)

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
        return self._restore(low_rank_product).to(dtype)

    def cache_weight(self, keep: bool = True) -> None:
        """Keep the dequantized weight from the next call on, or forget it."""
        self._cache_wanted = keep
        self._cache = None

    def _dense(self, dtype: torch.dtype) -> Tensor:
        """Return the weight that the layer computes with, from the cache where one is wanted."""
        if not self._cache_wanted:
            return self._decode(dtype)
        if self._cache is None or self._cache.dtype != dtype:
            # Kept for calls that want gradients, too.
            with torch.inference_mode(False), torch.no_grad():
                self._cache = self._decode(dtype)
        return self._cache

    def _decode(self, dtype: torch.dtype) -> Tensor:
        """Make the weight that the layer computes with; classes may want another one."""
        # A matrix product takes the sums of a low-rank part in another order, and far less time.
        return self._restore(lambda u, v: u.float() @ v.float()).to(dtype)

    def _restore(self, low_rank: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Decode and undo the transforms: float32, of the source's shape."""
        matrix = self._matrix()
        for transform in self.transforms:
            if transform == "hadamard":
                matrix = hadamard(matrix, self.hadamard_block)
            elif transform == "low_rank":
                matrix = matrix.add_(low_rank(self.low_rank_u, self.low_rank_v))
            else:
                matrix = matrix.div_(self.input_scale)
        return matrix.reshape(self.weight_shape)

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
        stored = {id(self._buffers.get(name)) for name in self._stored}

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
