"""Layers in Arrow tables, and what becomes of three of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrow_quant_v2 import ArrowQuantV2

QUANTIZER = ArrowQuantV2()
Floats = NDArray[np.float32]


def gaussian(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.02, count).astype(np.float32)


def table_of(*weights: Floats, **columns: Any) -> pa.Table:
    names = [f"layer{i}" for i in range(len(weights))]
    lists = pa.array(list(weights), pa.list_(pa.float32()))
    return pa.table({"layer_name": names, "weights": lists, **columns})


VALUES = gaussian(300, 3)


def three_layers() -> pa.Table:
    return table_of(*VALUES.reshape(3, 100))


CODED = QUANTIZER.quantize_batch_arrow(three_layers())  # what others are to give, too
