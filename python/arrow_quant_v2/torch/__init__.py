"""Quantized models that run in PyTorch.

>>> from arrow_quant_v2.torch import load_model
>>> from diffusers import DiTTransformer2DModel
>>> config = DiTTransformer2DModel.load_config("digits-int4/transformer")
>>> model = load_model(DiTTransformer2DModel.from_config(config), "digits-int4").eval()
"""

from __future__ import annotations

import importlib.util as _importlib_util
import logging as _logging

try:
    import torch as _torch  # noqa: F401
except ImportError as _error:
    raise ImportError(
        "arrow_quant_v2.torch needs PyTorch: run: pip install 'arrow-quant-v2[torch]'"
    ) from _error

from arrow_quant_v2.torch.layers import (
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedConv3d,
    QuantizedLinear,
)
from arrow_quant_v2.torch.loading import load_model
from arrow_quant_v2.torch.packed_weight import cache_weights
from arrow_quant_v2.torch.timesteps import timestep

# Importing this package makes diffusers' from_pretrained know quantized models.
if _importlib_util.find_spec("diffusers") is not None:
    try:
        from arrow_quant_v2.torch.diffusers_loading import register as _register
    except (ImportError, RuntimeError) as _error:
        _logging.getLogger(__name__).warning(
            "diffusers is installed, but cannot load quantized models by itself (%s): use "
            "load_model, or run: pip install -U diffusers",
            _error,
        )
    else:
        _register()

__all__ = [
    "QuantizedConv1d",
    "QuantizedConv2d",
    "QuantizedConv3d",
    "QuantizedLinear",
    "cache_weights",
    "load_model",
    "timestep",
]
