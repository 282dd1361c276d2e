"""Arrays that collect statistics: in memory as far as the budget goes, in mapped files beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Arena:
    """Hands out zeroed arrays.

    Parameters
    ----------
    scratch : Path
        Folder for the files of what does not fit in memory; made when it is needed.
    max_bytes : int
        Bytes that may lie in memory.
    """

    def __init__(self, scratch: Path, max_bytes: int) -> None:
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._in_memory = 0
        self.mapped_bytes = 0
        self._files = 0

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of zeros that lies in memory, or in a file of the scratch folder."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size == 0 or self._in_memory + size <= self._max_bytes:
            self._in_memory += size
            return np.zeros(shape, dtype)
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._files += 1
        self.mapped_bytes += size
        path = self._scratch / f"sums-{self._files:06}.bin"
        # A file of holes reads as zeros, and takes room on the disk only where it is written.
        return np.memmap(path, dtype=dtype, mode="w+", shape=shape)

    def release(self, array: NDArray[Any]) -> None:
        """Take back an array that nobody uses any more."""
        if isinstance(array, np.memmap):
            self.mapped_bytes -= array.nbytes
            Path(str(array.filename)).unlink(missing_ok=True)
        else:
            self._in_memory -= array.nbytes
