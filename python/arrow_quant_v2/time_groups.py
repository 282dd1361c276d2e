"""TimeGroups and ActivationParameters: what in a quantized model changes with the timestep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TimeGroups:
    """How the steps of sampling are cut into groups; group 0 is the noisiest.

    A timestep is what the model is given, or the fraction of masked tokens, 0 … 1.
    """

    kind: str
    """"timestep" or "masked_fraction"."""
    schedule: str
    """In words, where the log-SNR came from."""
    timesteps: tuple[float, ...]
    """The steps that calibrated, from the noisiest to the cleanest."""
    log_snr: tuple[float, ...]
    """ln(signal² / noise²) of each of them; it rises."""
    boundaries_timestep: tuple[float, ...]
    """Between each two neighbouring groups, in the direction of `timesteps`."""
    boundaries_log_snr: tuple[float, ...]
    """The same as log-SNR."""
    interpolation: str
    """How bias corrections go over: "" (they jump), "linear", "cubic", "sigmoid"."""
    window: int
    """Within how many steps they do."""
    activation_interpolation: str = ""
    """How activation parameters go over, within the same window."""

    @staticmethod
    def from_json(text: str) -> TimeGroups:
        """Make the groups from the JSON object that a model's files hold."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in json.loads(text).items()
        }
        return TimeGroups(**values)

    def __len__(self) -> int:
        """Count the groups."""
        return len(self.boundaries_timestep) + 1

    def group_of(self, timestep: float) -> int:
        """Tell the group of a timestep, 0 … len − 1; one at a boundary is of the noisier group."""
        falling = len(self.timesteps) < 2 or self.timesteps[0] > self.timesteps[-1]
        return sum(
            timestep < boundary if falling else timestep > boundary
            for boundary in self.boundaries_timestep
        )


@dataclass(frozen=True)
class ActivationParameters:
    """How the input of a layer is quantized while the model runs.

    The arrays have one value per group of timesteps, or one for all. With N = 2^bits − 1:

    - "dynamic": for each row, lo = clip · min(row, 0), hi = clip · max(row, 0),
      scale = (hi − lo) / N, x ≈ scale · clamp(round((x − lo) / scale), 0, N) + lo;
    - "static": x ≈ scale · (clamp(round(x / scale) + zero_point, 0, N) − zero_point).
    """

    bits: int
    """4 or 8."""
    mode: str
    """"dynamic", which uses `clip`, or "static", which uses `scale` and `zero_point`."""
    clip: NDArray[np.float32]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.float32]
