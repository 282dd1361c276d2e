"""Which layers get the same input: one of them keeps the data, the others are its aliases."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from arrow_quant_v2.calibration.layers import Layer
from arrow_quant_v2.errors import QuantizationError

SETTLING_CALLS = 2


@dataclass
class _Seen:
    tensor: Any  # a weak reference
    version: int
    layer: str
    occurrence: int


class Sharing:
    """Watches which layers get the same tensor.

    In the first two calls every layer collects for itself. Layers that got the same tensors in both
    are aliases from then on, and a call that contradicts this is an error, since what the layer
    that keeps the data has counted cannot be taken apart any more.

    Attributes
    ----------
    aliases : dict of str to str
        From a layer to the one whose data hold for it; empty until settled.
    """

    def __init__(self, enabled: bool) -> None:
        self.settled = not enabled
        self.aliases: dict[str, str] = {}
        self._seen: dict[tuple[int, object], _Seen] = {}
        self._in_call: dict[str, list[tuple[str, int]]] = {}
        self._calls: list[dict[str, list[tuple[str, int]]]] = []

    def see(self, layer: Layer, x: Any) -> bool:
        """Note an input of a layer; return whether another layer keeps its data."""
        uses = self._in_call.setdefault(layer.name, [])
        key = (id(x), _geometry(layer))
        seen = self._seen.get(key)
        version = 0 if x.is_inference() else x._version
        if seen is None or seen.tensor() is not x or seen.version != version:
            seen = _Seen(weakref.ref(x), version, layer.name, len(uses))
            self._seen[key] = seen
        uses.append((seen.layer, seen.occurrence))
        return layer.name in self.aliases

    def end_call(self, index: int) -> list[str]:
        """Finish a call; return the layers whose data are not needed any more.

        Raises
        ------
        QuantizationError
            If an alias had another input than its layer.
        """
        uses, self._in_call = self._in_call, {}
        self._seen = {}
        for alias, layer in self.aliases.items():
            if uses.get(alias, []) != uses.get(layer, []):
                raise QuantizationError(
                    f"the layer {alias!r} had the same input as {layer!r} in the first "
                    f"{SETTLING_CALLS} calls of the model, but not in call {index}; collect with "
                    "share_inputs=False"
                )
        if self.settled:
            return []
        self._calls.append(uses)
        return self.settle() if len(self._calls) == SETTLING_CALLS else []

    def settle(self) -> list[str]:
        """Decide from the calls so far; return the aliases."""
        if self.settled:
            return []
        self.settled = True
        for name, uses in (self._calls[0] if self._calls else {}).items():
            layer = uses[0][0]
            if layer == name:
                continue
            if all(call.get(name, []) == call.get(layer, []) for call in self._calls):
                self.aliases[name] = layer
        self._calls = []
        return list(self.aliases)


def _geometry(layer: Layer) -> object:
    """Return what decides how an input is cut into rows."""
    module = layer.module
    if not layer.kernel:
        return layer.channels
    return (
        layer.channels,
        layer.kernel,
        tuple(module.stride),
        tuple(module.dilation),
        tuple(module._reversed_padding_repeated_twice),
    )
