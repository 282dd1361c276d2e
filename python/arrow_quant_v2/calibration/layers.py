"""Which layers of a model are watched, and how their inputs are cut into rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.errors import ConfigurationError

# As the built-in rules of quantizing have it: smaller layers keep their weights.
MIN_WEIGHTS = 16384
MIN_CHANNELS = 32

LayerChoice = Callable[[str, Any], bool] | Iterable[str]


class Layer:
    """A linear layer or a convolution.

    Attributes
    ----------
    name : str
        Of its weight in the model.
    module : torch.nn.Module
    channels, cols : int
        Input channels; columns of the weight as a matrix.
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        self.module = module
        weight = module.weight
        self.channels = int(weight.shape[1])
        self.cols = int(weight[0].numel())
        self.kernel = tuple(weight.shape[2:])

    def rows_of(self, x: Any) -> LayerInput:
        """Cut an input of the layer into rows."""
        return ConvInput(self.module, x) if self.kernel else LinearInput(x)


class LinearInput:
    """The input [..., channels] of a linear layer: each vector is a row.

    Attributes
    ----------
    batch : int
        Length of the first axis.
    rows : int
        Rows in each of its entries.
    """

    def __init__(self, x: Any) -> None:
        x = x if x.dim() > 1 else x[None]
        self._x = x.reshape(x.shape[0], -1, x.shape[-1])
        self.batch = int(x.shape[0])
        self.rows = int(self._x.shape[1])

    def channels_first(self) -> Any:
        """Return the input as [batch, channels, positions]."""
        return self._x.transpose(1, 2)

    def gather(self, entry: NDArray[np.int64], row: NDArray[np.int64]) -> Any:
        """Return rows [n, cols] by entry of the first axis and number in it, float32."""
        return self._x[_index(entry, self._x), _index(row, self._x)].float()

    def all_rows(self, entry: NDArray[np.int64]) -> Any:
        """Return all rows of some entries, [entries·rows, cols]."""
        picked = self._x
        if len(entry) != self.batch:
            picked = picked[_index(entry, picked)]
        return picked.reshape(-1, picked.shape[-1])


class ConvInput:
    """The input [batch, channels, …] of a convolution: a row is the patch of an output position.

    The patches are never all in memory: only those asked for are copied.
    """

    def __init__(self, module: Any, x: Any) -> None:
        import torch

        dims = module.weight.dim() - 2
        self._x = x if x.dim() == dims + 2 else x[None]
        pads = module._reversed_padding_repeated_twice
        padded = torch.nn.functional.pad(self._x, pads) if any(pads) else self._x.contiguous()
        kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
        self._shape = tuple(
            (padded.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
            for i in range(dims)
        )
        step = padded.stride()
        # [batch, output positions …, channels, kernel …]: a view of the padded input.
        self._patches = padded.as_strided(
            (padded.shape[0], *self._shape, padded.shape[1], *kernel),
            (
                step[0],
                *(step[2 + i] * stride[i] for i in range(dims)),
                step[1],
                *(step[2 + i] * dilation[i] for i in range(dims)),
            ),
        )
        self.batch = int(self._x.shape[0])
        self.rows = int(np.prod(self._shape, dtype=np.int64))

    def channels_first(self) -> Any:
        """Return the input as [batch, channels, positions], without padding."""
        return self._x.flatten(2)

    def gather(self, entry: NDArray[np.int64], row: NDArray[np.int64]) -> Any:
        """Return patches [n, cols] by entry of the batch and output position, float32."""
        place = (entry, *np.unravel_index(row, self._shape))
        picked = self._patches[tuple(_index(axis, self._x) for axis in place)]
        return picked.flatten(1).float()


LayerInput = LinearInput | ConvInput


def choose_layers(model: Any, choice: LayerChoice | None) -> list[Layer]:
    """Return the layers to watch, in the model's order.

    Parameters
    ----------
    model : torch.nn.Module
    choice : callable(name, module) or iterable of str, optional
        Of all linear layers and convolutions without groups; regular expressions are searched in
        the module's name. By default those with at least 16,384 weights and 32 channels in and out.

    Raises
    ------
    ConfigurationError
        If there is none, or an expression is not one.
    """
    wanted = _large if choice is None else choice if callable(choice) else _matching(choice)
    layers = [
        Layer(f"{name}.weight" if name else "weight", module)
        for name, module in model.named_modules()
        if _can_be_watched(module) and wanted(name, module)
    ]
    if not layers:
        remedy = (
            "pass layers=lambda name, module: True to watch all linear layers and convolutions"
            if choice is None
            else "names are those of model.named_modules()"
        )
        raise ConfigurationError(
            f"layers: {type(model).__name__} has no layer to collect the inputs of; {remedy}"
        )
    return layers


def _can_be_watched(module: Any) -> bool:
    import torch

    nn = torch.nn
    if isinstance(module, nn.Linear):
        return True
    convolution = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return convolution and module.groups == 1 and module.padding_mode == "zeros"


def _large(_: str, module: Any) -> bool:
    weight = module.weight
    return bool(weight.numel() >= MIN_WEIGHTS and min(weight.shape[:2]) >= MIN_CHANNELS)


def _matching(expressions: Iterable[str]) -> Callable[[str, Any], bool]:
    if isinstance(expressions, str):
        raise ConfigurationError(
            f"layers = {expressions!r}: give a list of regular expressions, [{expressions!r}]"
        )
    patterns = []
    for text in expressions:
        try:
            patterns.append(re.compile(text))
        except re.error as error:
            raise ConfigurationError(
                f"layers: {text!r} is no regular expression ({error}); escape characters that "
                "stand for themselves"
            ) from error
    return lambda name, _: any(pattern.search(name) for pattern in patterns)


def _index(values: NDArray[np.int64], like: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)
