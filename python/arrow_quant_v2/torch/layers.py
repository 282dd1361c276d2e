"""QuantizedLinear and QuantizedConv1d, 2d, 3d: layers of torch that hold packed codes."""

# mypy: disable-error-code="misc, no-any-return, no-untyped-call"

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from arrow_quant_v2.load import QuantizedTensor
from arrow_quant_v2.time_groups import TimeGroups
from arrow_quant_v2.torch.moment import Moment
from arrow_quant_v2.torch.quantized_layer import QuantizedLayer

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class QuantizedLinear(QuantizedLayer, nn.Linear):
    """A linear layer whose weight is packed; `load_model` makes it."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input · weightᵀ + bias, [..., out_features] in the input's type."""
        moments = self._moments()
        if self.act_bits:
            output = self._product_of_codes(input, moments)
            output = output if self.bias is None else output + self.bias.to(output.dtype)
        else:
            output = F.linear(input, self._dense(input.dtype), _cast(self.bias, input))
        return self._corrected(output, moments, axes_after=0)


class _QuantizedConv(QuantizedLayer):
    """What the convolutions share; the other base class is the one that it replaces."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of the input with the weight, in the input's type."""
        moments = self._moments()
        axes = len(self.kernel_size)
        if not self.act_bits:
            weight, bias = self._dense(input.dtype), _cast(self.bias, input)
            output = self._conv_forward(input, weight, bias)
        elif self.transforms or self.act_clip is not None:
            output = self._product_of_patches(input, moments)
        else:  # one range for all values: they are the same in whatever patch they lie
            codes = self._quantize_input(input.float(), moments).to(input.dtype)
            weight, bias = self._dense(input.dtype), _cast(self.bias, input)
            output = self._conv_forward(codes, weight, bias)
        return self._corrected(output, moments, axes_after=axes)

    def _product_of_patches(self, input: Tensor, moments: tuple[Moment, ...]) -> Tensor:
        """Convolve as a linear layer of patches: transforms and dynamic ranges are those of a row.

        A patch is what one place of the output is made of, in the order of the view [out, in·…].
        """
        batched = input.ndim == len(self.kernel_size) + 2
        patches = self._patches(input if batched else input[None])
        places = patches.shape[2:]
        # [samples, groups, places, in·…], and weights as [groups, in·…, out of a group].
        patches = patches.flatten(2).unflatten(1, (self.groups, -1)).transpose(2, 3)
        output = self._product_of_codes(patches, moments)
        output = output.transpose(2, 3).flatten(1, 2).unflatten(2, places)
        if self.bias is not None:
            output = output + self.bias.to(output.dtype).reshape(-1, *[1] * len(places))
        return output if batched else output[0]

    def _patches(self, input: Tensor) -> Tensor:
        """Return what the kernel sees at each place, [samples, in·kernel, *places]."""
        taps = math.prod(self.kernel_size)
        # A convolution per channel with kernels that are 1 at one tap copies the input to there.
        pick = torch.eye(taps, dtype=input.dtype, device=input.device)
        pick = pick.reshape(taps, 1, *self.kernel_size).repeat(
            self.in_channels, *[1] * (1 + len(self.kernel_size))
        )
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        convolve = _CONVOLUTIONS[len(self.kernel_size)]
        return convolve(
            input, pick, None, self.stride, padding, self.dilation, groups=self.in_channels
        )


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


def class_for(module: nn.Module) -> type[QuantizedLayer] | None:
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
    module: nn.Module,
    tensor: QuantizedTensor,
    time_groups: TimeGroups | None,
    device: torch.device,
    dtype: torch.dtype,
) -> QuantizedLayer:
    """Make the layer that takes the place of `module`.

    Parameters
    ----------
    module : nn.Module
        One for which `class_for` has a class. The new layer shares its bias parameter, mode and
        hooks.
    tensor : QuantizedTensor
        The weight, of the shape of the module's, with what belongs to it.
    time_groups : TimeGroups or None
        The groups of timesteps that its parameters are for.
    device, dtype
        Where the codes go, and the type that the layer shows as its weight's.

    Returns
    -------
    QuantizedLayer
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
    layer._hold(tensor, time_groups, device, dtype)
    return layer


def _cast(bias: Tensor | None, input: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(input.dtype)
