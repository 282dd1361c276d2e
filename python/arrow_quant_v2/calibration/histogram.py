"""The histogram with fixed bins: 48 octaves of each sign in sixteenths, and one bin around zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 1537
ZERO = 768
_SIXTEENTHS = 768  # of the octaves 2^-24 … 2^24

# The upper 12 bits below the sign of a float32 number its exponent (biased by 127) and the
# sixteenth of its octave; this is that number for 2^-24.
_LOWEST = (127 - 24) * 16


def count(x: Any) -> NDArray[np.int64]:
    """Return how many elements of a torch tensor lie in each bin.

    Parameters
    ----------
    x : torch.Tensor
        Finite values, of any shape and floating type.

    Returns
    -------
    ndarray of int64, [1537]
    """
    import torch

    bits = x.float().contiguous().view(torch.int32).reshape(-1)
    octave = ((bits & 0x7FFFFFFF) >> 19).sub_(_LOWEST - 1).clamp_(0, _SIXTEENTHS)
    bins = torch.where(bits < 0, ZERO - octave, ZERO + octave)
    counts: NDArray[np.int64] = torch.bincount(bins, minlength=BINS).cpu().numpy()
    return counts


def count_array(x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many elements of a numpy array lie in each bin, as `count` does."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).reshape(-1)
    octave = np.clip(((bits & 0x7FFFFFFF) >> 19) - (_LOWEST - 1), 0, _SIXTEENTHS)
    counts: NDArray[np.int64] = np.bincount(
        np.where(bits < 0, ZERO - octave, ZERO + octave), minlength=BINS
    )
    return counts


def bin_of(x: float) -> int:
    """Return the bin of one number."""
    magnitude = int(np.abs(np.float32(x)).view(np.uint32)) >> 19
    octave = min(max(magnitude - _LOWEST + 1, 0), _SIXTEENTHS)
    return ZERO + octave if x >= 0 else ZERO - octave


def edges(index: int) -> tuple[float, float]:
    """Return the least and the greatest magnitude of a bin; 0 and 2^-24 of the one around zero."""
    octave = abs(index - ZERO) - 1
    if octave < 0:
        return 0.0, 2.0**-24
    e, m = divmod(octave, 16)
    scale = 2.0 ** (e - 24)
    return scale * (1 + m / 16), scale * (1 + (m + 1) / 16)
