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
from arrow_quant_v2.calibration.inputs import load_inputs

__all__ = [
    "CalibrationData",
    "LayerCalibration",
    "StepData",
    "collect",
    "load_inputs",
    "read",
]
