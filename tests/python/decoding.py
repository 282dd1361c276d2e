"""Stored codes by numpy, and the reader that FORMAT.md prints."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = Path(__file__).resolve().parents[2] / "arrow_quant" / "io" / "FORMAT.md"


def unpack(data: bytes, rows: int, cols: int, bits: int) -> NDArray[np.int32]:
    """Codes [rows, cols] of packed bytes: lsb first, every row from a byte on."""
    if bits == 8:
        return np.frombuffer(data, np.int8).reshape(rows, cols).astype(np.int32)
    packed = np.frombuffer(data, np.uint8).reshape(rows, -1)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[:, :, None] >> shifts) & np.uint8(2**bits - 1)
    return codes.reshape(rows, -1)[:, :cols].astype(np.int32)


def documented_reader() -> Callable[..., NDArray[np.float32]]:
    """Return `decode` of FORMAT.md: the documentation is the code under test."""
    code = re.search(r"```python\n(.*?)```", FORMAT.read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    decode: Callable[..., NDArray[np.float32]] = names["decode"]
    return decode
