"""inspect_model: what is in a model, or what would become of it."""

from __future__ import annotations

import json
import os
from typing import Any

from arrow_quant_v2 import _core
from arrow_quant_v2._core import DiffusionQuantConfig
from arrow_quant_v2.runs import StrPath


def inspect_model(path: StrPath, config: DiffusionQuantConfig | None = None) -> dict[str, Any]:
    """Tell what is in a model without reading a weight.

    Parameters
    ----------
    path : str or os.PathLike
        A model as `ArrowQuantV2.quantize_diffusion_model` takes it, or one that it made.
    config : DiffusionQuantConfig, optional
        The options that the plan for a source model follows.

    Returns
    -------
    dict
        ``kind`` ("source" or "quantized"), modality, sizes, and ``layers``: shape, bits, bytes and
        the reason for what is kept. Of a source it is what quantizing would do.

    Raises
    ------
    ModelNotFoundError
        If there is no model at `path`.
    ConfigurationError
        If an option is not allowed.
    QuantizationError
        If a header cannot be read; a `MetadataError` if a quantized model contradicts itself.

    Examples
    --------
    >>> from arrow_quant_v2 import inspect_model
    >>> inspect_model("model")["kind"]
    'source'
    """
    chosen = DiffusionQuantConfig() if config is None else config
    found: dict[str, Any] = json.loads(_core.inspect_model(os.fspath(path), chosen))
    return found
