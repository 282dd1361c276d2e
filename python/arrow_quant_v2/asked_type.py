"""asked_type: which floating-point type `QuantizedTensor.dequantize` is to give."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from arrow_quant_v2.errors import ConfigurationError

_FLOATS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def asked_type(dtype: Any) -> tuple[str, bool]:
    """Return the safetensors name of an asked type, and whether a torch tensor was asked for.

    Parameters
    ----------
    dtype : str, numpy.dtype, type or torch.dtype
        A floating-point type of 16, 32 or 64 bits; bfloat16 of torch alone.

    Raises
    ------
    ConfigurationError
        For another type; lists what is allowed.
    """
    torch_module = sys.modules.get("torch")
    as_torch = torch_module is not None and isinstance(dtype, torch_module.dtype)
    if as_torch:
        name = str(dtype).removeprefix("torch.")
    elif isinstance(dtype, str) and dtype == "bfloat16":
        raise ConfigurationError(
            "dtype = 'bfloat16': numpy has no such type; pass torch.bfloat16 for a torch tensor, "
            "or 'float32'"
        )
    else:
        name = _numpy_name(dtype)
    if name not in _FLOATS:
        raise ConfigurationError(
            f"dtype = {dtype!r}: allowed are 'float64', 'float32', 'float16', and torch.float64, "
            "torch.float32, torch.float16, torch.bfloat16 for a torch tensor"
        )
    return _FLOATS[name], as_torch


def _numpy_name(dtype: Any) -> str:
    if dtype is None:  # float64 to numpy, a mistake here
        return ""
    try:
        parsed = np.dtype(dtype)
    except TypeError:
        return ""
    return parsed.name if parsed.isnative else ""
