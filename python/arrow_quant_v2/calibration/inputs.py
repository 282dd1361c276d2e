"""The arguments that a model was called with, kept beside a calibration and given back exactly."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arrow_quant_v2.calibration.require import require
from arrow_quant_v2.errors import MetadataError, ModelNotFoundError

MAX_BYTES = 256 << 20
KEY = "arrow_quant.inputs"
_PURPOSE = "Keeping a model's inputs"


def inputs_path(out: Path) -> Path:
    """Return where the inputs of a calibration are kept."""
    return out.with_suffix(".inputs.safetensors")


class InputRecorder:
    """Keeps the arguments of calls, as long as they are few enough.

    Attributes
    ----------
    problem : str
        Why nothing is kept; "" while everything is.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._calls: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._bytes = 0
        self._last: dict[str, str] = {}  # where in a call → the tensor that was there last

    def add(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Keep the arguments of one call."""
        if self.problem:
            return
        call = dict(kwargs) | ({"args": tuple(args)} if args else {})
        try:
            self._calls.append(self._described(call, "inputs"))
        except TypeError as error:
            self.drop(str(error))
        if self._bytes > MAX_BYTES:
            self.drop(f"they take more than {MAX_BYTES >> 20} MiB")

    def save(self, path: Path) -> None:
        """Write what was kept, whole or not at all."""
        safetensors = require("safetensors.torch", _PURPOSE)
        temporary = path.with_name(f".{path.name}.tmp")
        safetensors.save_file(self._tensors, temporary, {KEY: json.dumps(self._calls)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        """Go on after what `save` wrote."""
        self._calls, self._tensors = _read(path)
        self._bytes = sum(tensor.nbytes for tensor in self._tensors.values())
        for call in self._calls:
            self._last.update(_places(call, "inputs"))

    def drop(self, problem: str) -> None:
        """Keep nothing, and say why."""
        self.problem = problem
        self._calls, self._tensors, self._last = [], {}, {}

    def _described(self, value: Any, where: str) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return {"value": value}
        if isinstance(value, float):
            return {"value": value} if math.isfinite(value) else {"float": repr(value)}
        if hasattr(value, "detach"):
            return {"tensor": self._kept(value, where)}
        if isinstance(value, list | tuple):
            items = [self._described(item, f"{where}[{i}]") for i, item in enumerate(value)]
            return {"tuple" if isinstance(value, tuple) else "list": items}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {
                "dict": {k: self._described(item, f"{where}[{k!r}]") for k, item in value.items()}
            }
        raise TypeError(f"{where} is a {type(value).__name__}")

    def _kept(self, tensor: Any, where: str) -> str:
        """Keep a copy, or name the last one from the same place if it is equal."""
        import torch

        tensor = tensor.detach().cpu()
        last = self._tensors.get(self._last.get(where, ""))
        if last is not None and last.dtype == tensor.dtype and torch.equal(last, tensor):
            return self._last[where]
        name = str(len(self._tensors))
        self._tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        self._last[where] = name
        self._bytes += tensor.nbytes
        return name


def load_inputs(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Give back the inputs that a collection kept.

    Parameters
    ----------
    path : str or os.PathLike
        The calibration file, or the ``.inputs.safetensors`` file beside it.

    Returns
    -------
    list of dict
        The keyword arguments of each call of the model, in order; positional ones are a tuple under
        the key "args". Tensors are on the CPU.

    Raises
    ------
    ModelNotFoundError
        If no inputs were kept.
    MetadataError
        If the file holds something else.
    """
    file = Path(path)
    if file.suffix != ".safetensors":
        file = inputs_path(file)
    if not file.is_file():
        raise ModelNotFoundError(
            f"{file}: no inputs were kept there; collect with keep_inputs=True, and see the "
            "warnings of its result"
        )
    calls, tensors = _read(file)
    return [_restored(call, tensors) for call in calls]


def _read(path: Path) -> tuple[list[Any], dict[str, Any]]:
    safetensors = require("safetensors", _PURPOSE)
    with safetensors.safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(KEY)
        if text is None:
            raise MetadataError(
                f"{path} holds no inputs: it has no metadata '{KEY}'; give the file that collect() "
                "wrote beside the calibration"
            )
        return json.loads(text), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _places(node: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
    """Return where in a call its tensors are, and their names."""
    (kind, value), *_ = node.items()
    if kind == "tensor":
        yield where, value
    elif kind == "dict":
        for key, item in value.items():
            yield from _places(item, f"{where}[{key!r}]")
    elif kind in ("list", "tuple"):
        for i, item in enumerate(value):
            yield from _places(item, f"{where}[{i}]")


def _restored(node: dict[str, Any], tensors: dict[str, Any]) -> Any:
    (kind, value), *_ = node.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: _restored(item, tensors) for key, item in value.items()}
    if kind in ("list", "tuple"):
        items: Iterator[Any] = (_restored(item, tensors) for item in value)
        return list(items) if kind == "list" else tuple(items)
    return float(value) if kind == "float" else value
