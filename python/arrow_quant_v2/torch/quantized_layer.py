"""QuantizedLayer: a packed weight with what depends on the timestep, and quantized inputs."""

# torch is not fully typed, and is nothing but Any where its types are left out.
# mypy: disable-error-code="misc, no-any-return, no-untyped-call"

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from arrow_quant_v2.errors import ShapeMismatchError
from arrow_quant_v2.load import QuantizedTensor
from arrow_quant_v2.time_groups import TimeGroups
from arrow_quant_v2.torch.activations import quantize_dynamic, quantize_static
from arrow_quant_v2.torch.moment import Blend, Moment
from arrow_quant_v2.torch.packed_weight import PackedWeight
from arrow_quant_v2.torch.timesteps import current_moments
from arrow_quant_v2.torch.transforms import hadamard


class QuantizedLayer(PackedWeight):
    """What linear layers and convolutions add to a packed weight.

    Buffers, per group of timesteps: ``bias_corrections``, float16 [groups, rows]; of quantized
    activations ``act_clip``, or ``act_scale`` and ``act_zero_point``, float32 [groups]. Those that
    a layer does not have are None.
    """

    act_bits: int  # of the input's codes; 0 where the input is not quantized
    bias_corrections: Tensor | None
    act_clip: Tensor | None
    act_scale: Tensor | None
    act_zero_point: Tensor | None

    def _hold(
        self,
        tensor: QuantizedTensor,
        time_groups: TimeGroups | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Take what `tensor` holds to `device`; show a weight of `dtype`."""
        self._hold_weight(tensor, device, dtype)
        self._name = tensor.name
        self._time_groups = time_groups
        activation = tensor.activation
        static = activation is not None and activation.mode == "static"
        self.act_bits = 0 if activation is None else activation.bits
        self._store("bias_corrections", tensor.bias_corrections, device)
        self._store("act_clip", activation.clip if activation and not static else None, device)
        self._store("act_scale", activation.scale if activation and static else None, device)
        zero_point = activation.zero_point if activation and static else None
        self._store("act_zero_point", zero_point, device)

    @property
    def needs_timestep(self) -> bool:
        """Whether it has parameters for several groups of timesteps."""
        tables = (self.bias_corrections, self.act_clip, self.act_scale)
        return any(table is not None and len(table) > 1 for table in tables)

    def _moments(self) -> tuple[Moment, ...]:
        """Return where this forward pass is in time: once, or for each sample."""
        if not self.needs_timestep:
            return (Moment(0, Blend(0), Blend(0)),)
        return current_moments(self._time_groups, self._name)

    def _per_sample(
        self, pick: Callable[[Moment], Tensor], moments: tuple[Moment, ...], input: Tensor
    ) -> Tensor:
        """Pick a parameter for the samples: as it is for all of them, or stacked along axis 0."""
        if len(moments) == 1:
            return pick(moments[0])
        if len(moments) != len(input):
            raise ShapeMismatchError(
                f"{self._name}: {len(moments)} timesteps in different groups were given, for an "
                f"input of shape {list(input.shape)}: its first axis must hold the same samples; "
                "call the model with one timestep at a time"
            )
        return torch.stack([pick(moment) for moment in moments])

    def _corrected(self, output: Tensor, moments: tuple[Moment, ...], axes_after: int) -> Tensor:
        """Add the bias correction of the moment to an output with `axes_after` its channels."""
        table = self.bias_corrections
        if table is None:
            return output
        shift = self._per_sample(lambda moment: moment.bias(table), moments, output)
        shift = shift.reshape(shift.shape + (1,) * axes_after)
        if len(moments) > 1:
            middle = output.ndim - shift.ndim
            shift = shift.reshape(shift.shape[:1] + (1,) * middle + shift.shape[1:])
        return output + shift.to(output.dtype)

    def _quantize_input(self, input: Tensor, moments: tuple[Moment, ...]) -> Tensor:
        """Take float32 activations to codes and back; the last axis shares a dynamic range."""

        def of(pick: Callable[[Moment], Tensor]) -> Tensor:
            picked = self._per_sample(pick, moments, input)
            return picked.reshape(picked.shape + (1,) * (input.ndim - 1))

        clip, scale, zero_point = self.act_clip, self.act_scale, self.act_zero_point
        if clip is not None:
            return quantize_dynamic(input, self.act_bits, of(lambda m: m.clip(clip)))
        if scale is None or zero_point is None:
            return input
        quantizers = [m.quantizer(scale, zero_point, self.act_bits) for m in moments]
        at = dict(zip(moments, quantizers, strict=True))
        return quantize_static(input, self.act_bits, of(lambda m: at[m][0]), of(lambda m: at[m][1]))

    def _product_of_codes(self, input: Tensor, moments: tuple[Moment, ...]) -> Tensor:
        """Multiply quantized inputs by a weight whose transforms are applied to the input instead.

        A weight is ((D · H) + U V) / s, so that the low-rank part sees the input over s, and D sees
        it rotated as well; only D's input is quantized.

        Parameters
        ----------
        input : Tensor
            [..., cols], or of a convolution [samples, groups, places, cols].
        moments : tuple of Moment
            As `_moments` gives them.

        Returns
        -------
        Tensor
            [..., rows], or [samples, groups, places, rows of a group].
        """
        groups = getattr(self, "groups", 1)  # of a convolution

        def multiply(values: Tensor, matrix: Tensor) -> Tensor:
            if groups == 1:
                return F.linear(values, matrix)
            return values @ matrix.unflatten(0, (groups, -1)).transpose(1, 2)

        scaled = input.float()
        if self.input_scale is not None:
            scaled = scaled / self.input_scale
        rotated = hadamard(scaled, self.hadamard_block) if self.hadamard_block else scaled
        codes = self._quantize_input(rotated, moments).to(input.dtype)
        output = multiply(codes, self._dense(input.dtype).flatten(1))
        if self.low_rank_u is not None and self.low_rank_v is not None:
            inner = F.linear(scaled.to(input.dtype), self.low_rank_v.to(input.dtype))
            output = output + multiply(inner, self.low_rank_u.to(input.dtype))
        return output

    def _decode(self, dtype: torch.dtype) -> Tensor:
        """Leave the transforms in the weight where they are applied to the input instead."""
        if self.act_bits:
            return self._matrix().reshape(self.weight_shape).to(dtype)
        return super()._decode(dtype)
