"""Quantizes diffusion models to 2, 4 or 8 bits, measures what was lost, and loads them again.

>>> from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig, load_quantized
>>> config = DiffusionQuantConfig(bit_width=4)
>>> result = ArrowQuantV2().quantize_diffusion_model("model", "model-int4", config)
>>> with load_quantized(result["quantized_path"]) as model:
...     weights = {name: tensor.dequantize() for name, tensor in model.items()}
"""

from __future__ import annotations

import logging as _logging

from arrow_quant_v2._build_info import PYARROW_MINOR as _PYARROW_MINOR
from arrow_quant_v2._build_info import VERSION as __version__  # noqa: N811

# The extension module runs on the libarrow inside the pyarrow wheel. pyarrow loads it first, so
# that there is one in the process, and another version is told by name instead of by a linker.
_REMEDY = f"run: pip install 'pyarrow=={_PYARROW_MINOR}.*'"
try:
    import pyarrow as _pyarrow
except ImportError as _error:
    raise ImportError(f"arrow_quant_v2 needs pyarrow {_PYARROW_MINOR}: {_REMEDY}") from _error
if ".".join(_pyarrow.__version__.split(".")[:2]) != _PYARROW_MINOR:
    raise ImportError(
        f"arrow_quant_v2 was built with pyarrow {_PYARROW_MINOR} and cannot run with "
        f"{_pyarrow.__version__}: {_REMEDY}"
    )

from arrow_quant_v2._core import (  # noqa: E402
    BoundarySmoothingConfig,
    DiffusionQuantConfig,
    ThermodynamicConfig,
    TransitionOptimizationConfig,
    ValidationConfig,
)
from arrow_quant_v2.aio import AsyncArrowQuantV2  # noqa: E402
from arrow_quant_v2.enums import (  # noqa: E402
    BetaSchedule,
    DeploymentProfile,
    InterpolationMethod,
    Modality,
)
from arrow_quant_v2.errors import (  # noqa: E402
    ArrowQuantError,
    ConfigurationError,
    MetadataError,
    ModelNotFoundError,
    QuantizationError,
    ShapeMismatchError,
    TableError,
    ValidationError,
)
from arrow_quant_v2.inspection import inspect_model  # noqa: E402
from arrow_quant_v2.load import QuantizedModel, QuantizedTensor, load_quantized  # noqa: E402
from arrow_quant_v2.quantizer import ArrowQuantV2  # noqa: E402
from arrow_quant_v2.time_groups import ActivationParameters, TimeGroups  # noqa: E402

# Says nothing unless the program configures logging.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())

__all__ = [
    "ActivationParameters",
    "ArrowQuantError",
    "ArrowQuantV2",
    "AsyncArrowQuantV2",
    "BetaSchedule",
    "BoundarySmoothingConfig",
    "ConfigurationError",
    "DeploymentProfile",
    "DiffusionQuantConfig",
    "InterpolationMethod",
    "MetadataError",
    "Modality",
    "ModelNotFoundError",
    "QuantizationError",
    "QuantizedModel",
    "QuantizedTensor",
    "ShapeMismatchError",
    "TableError",
    "ThermodynamicConfig",
    "TimeGroups",
    "TransitionOptimizationConfig",
    "ValidationConfig",
    "ValidationError",
    "__version__",
    "inspect_model",
    "load_quantized",
]
