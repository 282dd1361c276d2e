"""load_quantized: a quantized model as a lazy mapping from tensor names to tensors."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from arrow_quant_v2 import _core
from arrow_quant_v2.asked_type import asked_type
from arrow_quant_v2.time_groups import ActivationParameters, TimeGroups

if TYPE_CHECKING:
    import torch

_QUANTIZABLE = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}


def load_quantized(path: str | os.PathLike[str]) -> QuantizedModel:
    """Open a quantized model.

    Parameters
    ----------
    path : str or os.PathLike
        The directory that a quantization made.

    Returns
    -------
    QuantizedModel
        A mapping; its tensors are read when they are asked for.

    Raises
    ------
    ModelNotFoundError
        If there is no finished quantized model.
    QuantizationError
        If its files contradict each other, or need a newer version.

    Examples
    --------
    >>> from arrow_quant_v2 import load_quantized
    >>> with load_quantized("model-int4") as model:
    ...     weight = model["blocks.0.mlp.fc1.weight"]
    ...     weight.quant_type, weight.dequantize("float16").dtype.name
    ('int4', 'float16')
    """
    return QuantizedModel(path)


class QuantizedModel(Mapping[str, "QuantizedTensor"]):
    """A quantized model, opened for reading; `load_quantized` makes it.

    Maps names to tensors in the order of the source. With several components, a name that stands
    in more than one is "component/name". Any thread may use it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._core: _core.QuantizedModel | None = _core.QuantizedModel.open(self._path)
        self._index = {name: index for index, name in enumerate(self._core.keys())}

    @property
    def path(self) -> str:
        """The directory, as it was given."""
        return self._path

    @functools.cached_property
    def manifest(self) -> dict[str, Any]:
        """What manifest.json says: options, sources, parts, totals, reasons."""
        manifest: dict[str, Any] = json.loads(self._opened().manifest_json)
        return manifest

    def __getitem__(self, name: str) -> QuantizedTensor:
        return QuantizedTensor(self, self._index[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __repr__(self) -> str:
        state = "closed" if self._core is None else f"{len(self)} tensors"
        return f"<QuantizedModel {self._path!r}: {state}>"

    def time_groups(self, component: str = "") -> TimeGroups | None:
        """Tell how timesteps are grouped where the model has values for each group.

        Parameters
        ----------
        component : str
            The part of the pipeline, as `QuantizedTensor.component`; "" where there is one.

        Returns
        -------
        TimeGroups or None
            None where nothing changes with the timestep.

        Raises
        ------
        ConfigurationError
            If there is no such component.
        """
        text = self._opened().time_groups(component)
        return None if text is None else TimeGroups.from_json(text)

    def close(self) -> None:
        """Close the files. Arrays that were read stay valid."""
        self._core = None

    def __enter__(self) -> QuantizedModel:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _opened(self) -> _core.QuantizedModel:
        if self._core is None:
            raise ValueError(f"the model {self._path!r} is closed: open it again")
        return self._core


@dataclass(frozen=True)
class PackedTensor:
    """A quantized tensor as stored, seen as the matrix [out, in·…] = [rows, cols].

    A weight is ``tensor_scale · (scale · code + offset)``, in float32, rounded after each step;
    `QuantizedTensor.transforms` are then to be undone.
    """

    codes: NDArray[Any]
    """[rows, bytes of a packed row], as `QuantizedTensor.codes` gives them."""
    scales: NDArray[np.float16]
    """[rows, groups of a row]."""
    offsets: NDArray[np.float16]
    """[rows, groups of a row]; [rows, 0] with 8 bits, where there are none."""
    tensor_scale: NDArray[np.float32]
    """[rows]; powers of two, nearly always 1."""


class QuantizedTensor:
    """One tensor of a `QuantizedModel`. Nothing is read before it is asked for."""

    def __init__(self, model: QuantizedModel, index: int) -> None:
        self._model = model
        self._index = index
        self._report = model._opened().report(index)

    @property
    def name(self) -> str:
        """The tensor's name in the source."""
        return self._report.name

    @property
    def component(self) -> str:
        """The part of the pipeline it belongs to; "" where there is one part."""
        return self._report.component

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, as in the source."""
        return tuple(self._report.shape)

    @property
    def dtype(self) -> str:
        """The element type of the source, as safetensors spells it: "BF16", "F32", …."""
        return self._report.dtype

    @property
    def quant_type(self) -> str:
        """One of "int2", "int4", "int8", or "none" where the tensor was kept."""
        return self._report.quant_type

    @property
    def bit_width(self) -> int:
        """Bits of a code; where kept, of an element of the source."""
        return self._report.bit_width

    @property
    def group_size(self) -> int:
        """Weights along the input axis that share a scale; 0 where kept."""
        return self._report.group_size

    @property
    def stored_bytes(self) -> int:
        """Bytes of codes, scales, offsets, transforms and corrections as stored."""
        return self._report.stored_bytes

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured when it was quantized; empty where kept.

        ``cosine_similarity`` (−1 … 1), ``sqnr_db`` (dB) and ``max_abs_error``; with calibration
        data also ``output_sqnr_db``, of the layer's outputs on rows that were held out.
        """
        report = self._report
        measured = {
            "cosine_similarity": report.cosine_similarity,
            "sqnr_db": report.sqnr_db,
            "max_abs_error": report.max_abs_error,
            "output_sqnr_db": report.output_sqnr_db,
        }
        return {name: value for name, value in measured.items() if value is not None}

    @property
    def reason(self) -> str:
        """Why it was kept, or why it has other than the asked bits; "" otherwise."""
        return self._report.reason

    @property
    def kept_reason(self) -> str:
        """Why it was not quantized; "" where it was."""
        return self._report.reason if self.quant_type == "none" else ""

    @property
    def transforms(self) -> tuple[str, ...]:
        """What `dequantize` undoes, in its order.

        Some of "hadamard", "low_rank" and "input_scale". `packed`, `codes`, `scales` and `offsets`
        are those of the transformed weight.
        """
        return tuple(self._report.transforms)

    @property
    def hadamard_block(self) -> int:
        """Columns that a Hadamard transform mixes, a power of two; 0 where there is none."""
        return self._report.hadamard_block

    @property
    def input_scale(self) -> NDArray[np.float32]:
        """What the layer's input is divided by, [cols], above 0; of size 0 where there is none."""
        return self._extras.input_scale

    @property
    def low_rank(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """U [rows, rank] and V [rank, cols], whose product is added; None where there is none."""
        extras = self._extras
        return (extras.low_rank_u, extras.low_rank_v) if self._report.rank else None

    @property
    def bias_corrections(self) -> NDArray[np.float16]:
        """What is added to the layer's bias, [groups of timesteps, rows]; no groups: nothing.

        One group holds for all timesteps.
        """
        return self._extras.bias_corrections

    @property
    def activation(self) -> ActivationParameters | None:
        """How the layer's input is quantized; None where it is not."""
        if not self._report.act_bits:
            return None
        extras = self._extras
        return ActivationParameters(
            self._report.act_bits,
            self._report.act_mode,
            extras.clip,
            extras.scale,
            extras.zero_point,
        )

    @functools.cached_property
    def _extras(self) -> _Extras:
        return _Extras(*self._model._opened().read_extras(self._index))

    def __repr__(self) -> str:
        return f"<QuantizedTensor {self.name!r}: {self.quant_type} {list(self.shape)}>"

    @overload
    def dequantize(self, dtype: DTypeLike = "float32") -> NDArray[Any]: ...
    @overload
    def dequantize(self, dtype: torch.dtype) -> torch.Tensor: ...
    def dequantize(self, dtype: Any = "float32") -> Any:
        """Read the tensor and restore its weights.

        Parameters
        ----------
        dtype : str, numpy dtype or torch.dtype
            "float64", "float32" or "float16" give a numpy array, torch.float64, torch.float32,
            torch.float16 and torch.bfloat16 a torch tensor. float64 is exact for kept tensors of
            that type, and float32 widened for all others. Kept tensors of integers and booleans
            come back in their own type whatever is asked; types that numpy does not have, as their
            bytes.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            Of the source's shape, on the CPU. It owns its memory, which nothing else uses.

        Raises
        ------
        ConfigurationError
            For another dtype.
        QuantizationError
            If the file cannot be read or its checksum does not match.
        """
        asked, as_torch = asked_type(dtype)
        target = asked if self.dtype in _QUANTIZABLE else self.dtype
        widened = target == "F64" and not (self.dtype == "F64" and self.quant_type == "none")
        stored = "F32" if widened else target
        restored = self._model._opened().dequantize(self._index, stored, as_torch)
        if not widened:
            return restored
        return restored.double() if as_torch else restored.astype(np.float64)

    def packed(self) -> PackedTensor:
        """Read codes and parameters at once: what a program needs that decodes them itself.

        Returns
        -------
        PackedTensor
            Codes, scales, offsets and the scale of the whole.

        Raises
        ------
        QuantizationError
            Where the tensor was kept.
        """
        blocks = self._model._opened().read_packed(self._index)
        codes, scales, offsets, factors = zip(*blocks, strict=True)
        rows = [len(block) for block in codes]
        return PackedTensor(
            codes=_rows(list(codes)),
            scales=_rows(list(scales)),
            offsets=_rows(list(offsets)),
            tensor_scale=np.repeat(np.array(factors, np.float32), rows),
        )

    def codes(self) -> NDArray[Any]:
        """Read the packed codes.

        Returns
        -------
        numpy.ndarray
            [rows, bytes of a packed row] for the [out, in·…] view of the weight. 2 and 4 bits:
            uint8, code i of a byte at bit i·b, each row starting on a byte; 8 bits: int8.

        Raises
        ------
        QuantizationError
            Where the tensor was kept.
        """
        return _rows(self._model._opened().read_codes(self._index))

    @property
    def scales(self) -> NDArray[np.float16]:
        """The scales, float16 [rows, groups of a row]; read at each access."""
        return _rows(self._model._opened().read_scales(self._index))

    @property
    def offsets(self) -> NDArray[np.float16]:
        """The offsets, like the scales; with 8 bits there are none, and a row has 0 of them."""
        return _rows(self._model._opened().read_offsets(self._index))


class _Extras(NamedTuple):
    """What a tensor has beside codes and parameters; what it lacks has size 0."""

    input_scale: NDArray[np.float32]
    low_rank_u: NDArray[np.float32]
    low_rank_v: NDArray[np.float32]
    bias_corrections: NDArray[np.float16]
    clip: NDArray[np.float32]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.float32]


def _rows(blocks: list[NDArray[Any]]) -> NDArray[Any]:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
