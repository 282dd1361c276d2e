"""QuantizedLinear and QuantizedConv1d, 2d, 3d: layers of torch that hold packed codes."""

# mypy: disable-error-code="misc, no-any-return, no-untyped-call"

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from arrow_quant_v2.load import QuantizedTensor
from arrow_quant_v2.torch.packed_weight import PackedWeight


class QuantizedLinear(PackedWeight, nn.Linear):
    """A linear layer whose weight is packed; `load_model` makes it."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input · weightᵀ + bias, [..., out_features] in the input's type."""
        return F.linear(input, self._dense(input.dtype), _cast(self.bias, input))


class _QuantizedConv(PackedWeight):
    """What the convolutions share; the other base class is the one that it replaces."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of the input with the weight, in the input's type."""
        return self._conv_forward(input, self._dense(input.dtype), _cast(self.bias, input))


class QuantizedConv1d(_QuantizedConv, nn.Conv1d):
    """A convolution over one axis whose weight is packed; `load_model` makes it."""


class QuantizedConv2d(_QuantizedConv, nn.Conv2d):
    """A convolution over two axes whose weight is packed; `load_model` makes it."""


class QuantizedConv3d(_QuantizedConv, nn.Conv3d):
    """A convolution over three axes whose weight is packed; `load_model` makes it."""


_CLASSES = (
    (nn.Linear, QuantizedLinear),
    (nn.Conv1d, QuantizedConv1d),
    (nn.Conv2d, QuantizedConv2d),
    (nn.Conv3d, QuantizedConv3d),
)


def class_for(module: nn.Module) -> type[PackedWeight] | None:
    """Return the class that can take the place of `module`; None where there is none.

    Subclasses count where they compute what their base computes: those that have its forward, and
    the layers of diffusers that may hold a LoRA, as long as they hold none.
    """
    for dense, quantized in _CLASSES:
        if isinstance(module, dense):
            plain = type(module).forward is dense.forward
            empty = getattr(module, "lora_layer", module) is None
            return quantized if plain or empty else None
    return None


def quantized_layer(
    module: nn.Module, tensor: QuantizedTensor, device: torch.device, dtype: torch.dtype
) -> PackedWeight:
    """Make the layer that takes the place of `module`.

    Parameters
    ----------
    module : nn.Module
        One for which `class_for` has a class. The new layer shares its bias parameter, mode and
        hooks.
    tensor : QuantizedTensor
        The weight, of the shape of the module's.
    device, dtype
        Where the codes go, and the type that the layer shows as its weight's.

    Returns
    -------
    PackedWeight
        The new layer.
    """
    quantized = class_for(module)
    assert quantized is not None
    layer = quantized.__new__(quantized)
    # A layer of torch is its attributes: kernel sizes, hooks, the bias; the weight is left out.
    layer.__dict__.update(module.__dict__)
    for registry in ("_parameters", "_buffers", "_non_persistent_buffers_set"):
        layer.__dict__[registry] = module.__dict__[registry].copy()
    layer._parameters.pop("weight")
    layer._hold(tensor, device, dtype)
    return layer


def _cast(bias: Tensor | None, input: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(input.dtype)
