"""A model's quantized twin: a copy whose layers hold the packed codes of a directory."""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from arrow_quant_v2.errors import ConfigurationError
from arrow_quant_v2.load import load_quantized
from arrow_quant_v2.time_groups import TimeGroups
from arrow_quant_v2.torch.loading import component_for, load_model, replace_modules
from arrow_quant_v2.torch.packed_weight import cache_weights
from arrow_quant_v2.torch.quantized_layer import QuantizedLayer


class QuantizedCopy:
    """A model as a quantization made it, whose bias corrections can be exchanged.

    The copy shares no memory with the original; weights that are in the quantized model are never
    copied. Its layers keep their decoded weights, as long as it lives.

    Attributes
    ----------
    model : torch.nn.Module
    path : Path
    component : str
        The part of the pipeline; "" where there is one.
    layers : dict of str to QuantizedLayer
        By their names in the model, in its order.
    num_weights : int
        Of all quantized tensors of the component.
    """

    def __init__(
        self, model: Any, path: str | os.PathLike[str], component: str | None = None
    ) -> None:
        self.path = Path(path)
        with load_quantized(path) as source:
            self.component = component_for(model, source, component)
            tensors = [t for t in source.values() if t.component == self.component]
            self.time_groups = source.time_groups(self.component)
        quantized = [t for t in tensors if t.quant_type != "none"]
        self.num_weights = sum(math.prod(t.shape) for t in quantized)
        self.stored_bytes = sum(t.stored_bytes for t in quantized)
        held = {tensor.name for tensor in tensors}
        own = set(model.state_dict(keep_vars=True))
        twin = copy.deepcopy(model, _without(model, held))
        device = next((p.device for p in model.parameters()), None)
        load_model(twin, path, component=self.component, device=device, strict=own <= held)
        cache_weights(twin)
        self.model = twin
        self.layers = {
            name: module
            for name, module in twin.named_modules()
            if isinstance(module, QuantizedLayer)
        }
        if not self.layers:
            raise ConfigurationError(
                f"'{self.path}' has no quantized weight of a linear layer or convolution of the "
                f"model of class {type(model).__name__}: pass the model that was quantized, whose "
                "tensors have the names that they have in the files"
            )
        self._stored = {
            name: (layer.bias_corrections, layer._time_groups)
            for name, layer in self.layers.items()
        }

    @property
    def bits_per_weight(self) -> float:
        """Stored bits of the quantized tensors, with all that belongs to them, per weight."""
        return 8 * self.stored_bytes / self.num_weights

    @property
    def stored_bias_bytes(self) -> int:
        """Bytes of the bias corrections that the files hold for these layers."""
        tables = {id(table): table for table, _ in self._stored.values() if table is not None}
        return sum(2 * table.numel() for table in tables.values())

    @property
    def quantized_inputs(self) -> int:
        """How many layers quantize their inputs."""
        return sum(layer.act_bits > 0 for layer in self.layers.values())

    @property
    def activations_follow_time(self) -> bool:
        """Whether ranges of activations belong to groups of timesteps, which then must stay."""
        ranges = [
            table
            for layer in self.layers.values()
            for table in (layer.act_clip, layer.act_scale)
            if table is not None
        ]
        return any(len(table) > 1 for table in ranges)

    def exchange(self, other: QuantizedCopy, names: Iterable[str]) -> None:
        """Exchange layers with another copy of the same model, by their names in it."""
        for name in names:
            if name not in other.layers:
                continue
            mine, theirs = self.layers[name], other.layers[name]
            replace_modules(self.model, {id(mine): theirs})
            replace_modules(other.model, {id(theirs): mine})
            self.layers[name], other.layers[name] = theirs, mine
            stored = self._stored[name]
            self._stored[name], other._stored[name] = other._stored[name], stored

    def with_stored_biases(self) -> None:
        """Correct biases as the files have it."""
        for name, layer in self.layers.items():
            layer._buffers["bias_corrections"], layer._time_groups = self._stored[name]

    def with_biases(
        self, tables: Mapping[str, NDArray[Any]], time_groups: TimeGroups | None
    ) -> None:
        """Correct biases otherwise, in memory only.

        Parameters
        ----------
        tables : mapping of str to ndarray of float16, [groups, rows]
            By the name of the weight; layers without one are not corrected.
        time_groups : TimeGroups or None
            None: every table has one group, and the groups of the files stay.
        """
        for name, layer in self.layers.items():
            table = tables.get(layer._name)
            held = None
            if table is not None:
                held = torch.from_numpy(table).to(layer.codes.device)
            layer._buffers["bias_corrections"] = held
            layer._time_groups = time_groups or self._stored[name][1]


def _without(model: Any, names: set[str]) -> dict[int, Any]:
    """Return a memo of deepcopy that leaves out the memory of parameters that will be loaded."""
    memo: dict[int, Any] = {}
    aliases: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(parameter), []).append(name)
    for parameter in model.parameters():
        if any(name in names for name in aliases[id(parameter)]):
            empty = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
            memo[id(parameter)] = empty
    return memo
