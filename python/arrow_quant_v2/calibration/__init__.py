"""What the inputs of a model's layers look like in the course of sampling: calibration data.

>>> from arrow_quant_v2.calibration import collect, read
>>> result = collect(model, inputs, out="calibration.parquet")
>>> data = read(result["path"])
"""

from arrow_quant_v2.calibration.calibration_data import (
    CalibrationData,
    LayerCalibration,
    StepData,
    read,
)
from arrow_quant_v2.calibration.collection import collect
from arrow_quant_v2.calibration.imports import import_activations, import_imatrix, import_npz
from arrow_quant_v2.calibration.inputs import load_inputs
from arrow_quant_v2.calibration.masked_text import masked_inputs
from arrow_quant_v2.calibration.merging import merge
from arrow_quant_v2.calibration.refine import refine

__all__ = [
    "CalibrationData",
    "LayerCalibration",
    "StepData",
    "collect",
    "import_activations",
    "import_imatrix",
    "import_npz",
    "load_inputs",
    "masked_inputs",
    "merge",
    "read",
    "refine",
]
