"""Arrays that collect statistics: in memory as far as the budget goes, in mapped files beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Smaller arrays share files: a process may map some ten thousand only.
SLAB_BYTES = 64 << 20
_ALIGNMENT = 64


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
        self._slab: NDArray[Any] = np.empty(0, np.uint8)
        self._slab_used = 0

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of zeros that lies in memory, or in a file of the scratch folder."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size == 0 or self._in_memory + size <= self._max_bytes:
            self._in_memory += size
            return np.zeros(shape, dtype)
        self.mapped_bytes += size
        if size >= SLAB_BYTES:
            return self._mapped(size).view(dtype).reshape(shape)
        if self._slab_used + size > len(self._slab):
            self._slab = self._mapped(SLAB_BYTES)
            self._slab_used = 0
        part = self._slab[self._slab_used : self._slab_used + size]
        self._slab_used += -(-size // _ALIGNMENT) * _ALIGNMENT
        return part.view(dtype).reshape(shape)

    def _mapped(self, size: int) -> NDArray[Any]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._files += 1
        path = self._scratch / f"sums-{self._files:06}.bin"
        # A file of holes reads as zeros, and takes room on the disk only where it is written.
        return np.memmap(path, dtype=np.uint8, mode="w+", shape=(size,))

    def release(self, array: NDArray[Any]) -> None:
        """Take back an array that nobody uses any more."""
        if isinstance(array, np.memmap):
            self.mapped_bytes -= array.nbytes
            if array.nbytes >= SLAB_BYTES:
                Path(str(array.filename)).unlink(missing_ok=True)
        else:
            self._in_memory -= array.nbytes
